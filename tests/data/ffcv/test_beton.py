"""The files themselves: what is in them, how large they are, and that damage and lies are refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import picture, prepare, write_folder
from tleg_cli.data.ffcv.codec import decode
from tleg_cli.data.ffcv.file import Beton, read_beton
from tleg_cli.data.ffcv.sidecar import read_sidecar
from tleg_cli.data.ffcv.verify import verify_beton
from tleg_cli.errors import DataError


def images(beton: Beton) -> list[np.ndarray]:
    file = np.memmap(beton.path, np.uint8, mode="r")
    return [decode(beton, file, place) for place in range(len(beton.labels))]  # type: ignore[misc]


def test_digits_come_back_pixel_by_pixel(tmp_path):
    from tleg_cli.data.open_source import open_source

    beton = read_beton(prepare("digits", tmp_path) / "val.beton")
    split = open_source("digits").val()
    for place, pixels in enumerate(images(beton)):
        image, expected = split[place]
        assert beton.labels[place] == expected
        assert (pixels == np.asarray(image)).all()


def test_jpeg_files_are_shrunk_and_described(photos, tmp_path):
    out = prepare(photos, tmp_path / "out", max_resolution=40, quality=90, write_mode="jpg")
    beton, sidecar = read_beton(out / "train.beton"), read_sidecar(out / "train.beton")
    assert max(beton.widths.max(), beton.heights.max()) == 40
    assert beton.jpeg.all()
    assert (sidecar.samples, sidecar.max_resolution, sidecar.quality, sidecar.write_mode) == (24, 40, 90, "jpg")
    assert sidecar.classes == ("class-0", "class-1", "class-2")
    report = verify_beton(out / "train.beton")
    assert (report.images, report.classes) == (24, 3)


@pytest.mark.parametrize("source", ["synthetic/3000x28", "synthetic/20x16", "synthetic/60x230"])
def test_a_file_takes_little_more_than_its_pixels(tmp_path, source):
    """Many small images, few tiny ones, and images of which ten fill a page of FFCV's."""
    out = prepare(source, tmp_path, write_mode="raw", workers=4)
    for split in ("train", "val"):
        beton = read_beton(out / f"{split}.beton")
        assert (out / f"{split}.beton").stat().st_size <= 1.2 * int(beton.sizes.sum()) + 4096


@pytest.mark.parametrize("write_mode", ["jpg", "raw"])
def test_large_images_among_small_ones_need_no_option(tmp_path, write_mode):
    """Photographs of 12 megapixels, as ImageNet has them."""
    folder = write_folder(tmp_path / "photos", classes=2, train=3, val=2)
    picture(1, 4288, 2848).save(folder / "train" / "class-0" / "large.jpg", quality=80)
    noise = np.random.default_rng(0).integers(
        0, 256, (1800, 2400, 3), dtype=np.uint8
    )  # 4 MB as JPEG: more than a page of 2 MB
    Image.fromarray(noise).save(folder / "train" / "class-1" / "larger.jpg", quality=80)
    beton = read_beton(prepare(folder, tmp_path / "out", write_mode=write_mode) / "train.beton")
    assert sorted(beton.widths.tolist())[-2:] == [2400, 4288]
    assert len(beton.labels) == 8
    assert beton.path.stat().st_size <= 1.2 * int(beton.sizes.sum())


@pytest.mark.slow
def test_ffcvs_own_loader_reads_it_page_by_page(tmp_path):
    """With os_cache=False an image that crossed a page would be read from the wrong one. 230 x 230 pixels: 13 in 2 MB."""
    from ffcv.loader import Loader, OrderOption

    out = prepare("synthetic/60x230", tmp_path, write_mode="raw", workers=2)
    beton = read_beton(out / "train.beton")
    for os_cache in (True, False):
        loader = Loader(
            str(beton.path),
            batch_size=16,
            num_workers=1,
            order=OrderOption.SEQUENTIAL,
            os_cache=os_cache,
            drop_last=False,
        )
        found = [(pixels.clone(), labels.clone()) for pixels, labels in loader]
        assert np.array_equal(np.concatenate([labels.ravel() for _, labels in found]), beton.labels)
        assert np.array_equal(np.concatenate([pixels for pixels, _ in found]), np.stack(images(beton)))


@pytest.mark.parametrize("source", ["synthetic/60x230", "synthetic/40x460"])
def test_no_image_crosses_a_page(tmp_path, source):
    beton = read_beton(prepare(source, tmp_path, write_mode="raw") / "train.beton")
    page = int(np.fromfile(beton.path, "<u4", 1, offset=4)[0])
    assert page >= 1 << 21
    assert (beton.pointers // page == (beton.pointers + beton.sizes - 1) // page).all()
    assert len(set((beton.pointers // page).tolist())) > 1


def test_the_bytes_don_t_depend_on_the_number_of_processes(photos, tmp_path):
    one, other = (prepare(photos, tmp_path / str(workers), write_mode="jpg", workers=workers) for workers in (1, 3))
    for name in ("train.beton", "val.beton", "train.json", "val.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def damaged(betons: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(betons, tmp_path / "damaged")
    file = copy / "train.beton"
    beton = read_beton(file)
    content = bytearray(file.read_bytes())
    start = int(beton.pointers[5])
    content[start : start + int(beton.sizes[5])] = bytes(int(beton.sizes[5]))
    file.write_bytes(content)
    return copy


def test_a_damaged_image_is_found(betons, tmp_path):
    with pytest.raises(DataError, match="1 images don't decode: 5"):
        verify_beton(damaged(betons, tmp_path) / "train.beton")


@pytest.mark.parametrize("lie", ["text", "empty", "cut", "samples", "table", "pointer", "version"])
def test_a_file_that_lies_is_refused_before_it_is_believed(betons, tmp_path, lie):
    file = tmp_path / "train.beton"
    content = bytearray((betons / "train.beton").read_bytes())
    rows = 24 + 2 * 1041
    changes = {
        "samples": (8, (2**40).to_bytes(8, "little")),
        "table": (16, (2**60).to_bytes(8, "little")),
        "pointer": (rows + 5, (2**50).to_bytes(8, "little")),
        "version": (0, b"\x09\x00"),
    }
    if lie in changes:
        at, value = changes[lie]
        content[at : at + len(value)] = value
    file.write_bytes({"text": b"hello" * 1000, "empty": b"", "cut": bytes(content[:-7])}.get(lie, bytes(content)))
    with pytest.raises(DataError) as caught:
        read_beton(file)
    assert "\n" not in str(caught.value)
