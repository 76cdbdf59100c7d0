"""FFCV's evaluation path compared with PIL's and timm's on real photographs: how far apart they may be."""

import pytest

from benchmarks.parity import FILES, difference, evaluated, prepare, top1_on_both
from benchmarks.photographs import write_pieces

# mean over all images, mean of the worst one; measured: 0 and 0, 1.43 and 2.54, 1.96 and 4.09 levels of 255
BOUNDS = {"raw, as they are": (0.0, 0.0), "JPEG q90, as they are": (1.8, 3.2), "JPEG q90, long side 400": (2.4, 5.0)}

pytest.importorskip("ffcv.libffcv", reason="no FFCV build on this machine")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    folder = write_pieces(tmp_path_factory.mktemp("pieces") / "jpegs", train=1, val=4, size=(500, 375))
    return folder, evaluated(folder)


@pytest.mark.parametrize("kind", FILES)
def test_pixels_stay_within_the_stated_bound(kind, pieces, tmp_path):
    folder, pil = pieces
    found = difference(evaluated(prepare(folder, tmp_path / "out", **FILES[kind])), pil)
    mean, worst = BOUNDS[kind]
    assert found["mean"] <= mean
    assert found["worst image"] <= worst
    assert abs(found["bias"]) <= 1.0


def test_a_crop_a_few_pixels_off_would_be_noticed(pieces):
    _, pil = pieces
    assert difference(pil.roll(2, dims=3), pil)["mean"] > BOUNDS["JPEG q90, long side 400"][0]


@pytest.mark.slow
def test_one_network_scores_alike_on_both(tmp_path):
    pil, ffcv, images = top1_on_both(tmp_path)
    assert images == 2048
    assert pil > 90
    assert abs(pil - ffcv) <= 0.5
