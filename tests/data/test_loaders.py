"""Both loaders, one interface: the same crops, every image once, reproducible, and no error that is swallowed."""

import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from tests.data.conftest import prepare
from tests.data.ffcv.test_beton import damaged
from tleg_cli.config import AugmentationSection, DataSection
from tleg_cli.data.batches import Loader
from tleg_cli.data.open import describe, open_eval_loader, open_train_loader
from tleg_cli.errors import DataError

SIZE = 28


def data(path: object, workers: int = 0) -> DataSection:
    return DataSection(path=str(path), image_size=SIZE, workers=workers)


def train(
    path: object, *, workers: int = 0, seed: int = 1, rank: int = 0, world: int = 1, batch_size: int = 8
) -> Loader:
    section = AugmentationSection(crop_scale=(0.3, 1.0), flip=0.5)
    return open_train_loader(data(path, workers), section, batch_size=batch_size, seed=seed, rank=rank, world=world)


def batches(loader: Loader, epoch: int = 0, start: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    try:
        return [(images.clone(), labels.clone()) for images, labels in loader.epoch(epoch, start)]
    finally:
        loader.close()


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


@pytest.fixture(params=["folder", "ffcv"])
def path(request: pytest.FixtureRequest, photos: Path, betons: Path) -> Path:
    return photos if request.param == "folder" else betons


def test_batches_have_the_promised_shape_and_type(path):
    found = batches(train(path))
    assert len(found) == 3
    for images, labels in found:
        assert images.shape == (8, 3, SIZE, SIZE)
        assert images.dtype == torch.uint8
        assert labels.shape == (8,)
        assert labels.dtype == torch.int64


def test_an_epoch_is_a_function_of_seed_and_number(path):
    first = batches(train(path), epoch=2)
    assert same(first, batches(train(path), epoch=2))
    assert not same(first, batches(train(path), epoch=3))
    assert not same(first, batches(train(path, seed=2), epoch=2))


def test_an_epoch_can_begin_in_the_middle(path):
    assert same(batches(train(path), epoch=1)[2:], batches(train(path), epoch=1, start=2))


def test_workers_change_nothing(path):
    assert same(batches(train(path, workers=0)), batches(train(path, workers=2)))


def test_two_processes_get_the_halves_of_one_batch(path):
    alone = batches(train(path))
    halves = [batches(train(path, batch_size=4, rank=rank, world=2)) for rank in range(2)]
    joined = [(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(*halves, strict=True)]
    assert same(alone, joined)


@pytest.mark.parametrize("world", [1, 2, 4, 7])
def test_evaluation_counts_every_image_once(path, world):
    labels = []
    for rank in range(world):
        loader = open_eval_loader(data(path), batch_size=4, rank=rank, world=world)
        assert loader.samples == 15
        labels += [label for _, batch in batches(loader) for label in batch.tolist()]
    assert sorted(labels) == [0] * 5 + [1] * 5 + [2] * 5


def test_both_loaders_take_the_same_crops(photos, betons):
    """Resizing differs (PIL's bicubic, FFCV's area) and so does the JPEG; another crop would be far away."""
    for one, other in zip(batches(train(photos)), batches(train(betons)), strict=True):
        assert torch.equal(one[1], other[1])
        difference = (one[0].int() - other[0].int()).abs().float().mean(dim=(1, 2, 3))
        assert difference.max() < 8
        assert (one[0].int() - other[0].int().flip(3)).abs().float().mean() > 8


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
def test_both_loaders_evaluate_the_same_pixels_bit_by_bit(photos, tmp_path, crop_pct):
    """From a raw file; from a JPEG file they differ by what writing it has changed: see test_parity."""
    raw = prepare(photos, tmp_path / "raw", write_mode="raw")
    sections = [data(path, workers=2).model_copy(update={"crop_pct": crop_pct}) for path in (photos, raw)]
    one, other = (batches(open_eval_loader(section, batch_size=4, rank=0, world=1)) for section in sections)
    assert same(one, other)


def test_training_without_random_crops_takes_the_evaluation_crop_on_both(photos, tmp_path):
    raw = prepare(photos, tmp_path / "raw", write_mode="raw")
    section = AugmentationSection(crop_scale=None, flip=0.5)
    loaders = [open_train_loader(data(path), section, batch_size=8, seed=1, rank=0, world=1) for path in (photos, raw)]
    assert same(*map(batches, loaders))


def test_a_damaged_image_is_named_in_evaluation_too(betons, tmp_path):
    loader = open_eval_loader(data(damaged(betons, tmp_path), 2), batch_size=4, rank=0, world=1, split="train")
    with pytest.raises(DataError, match="image 5 is damaged; `tleg doctor"):
        batches(loader)


def test_fewer_images_than_a_batch_are_an_error(path):
    with pytest.raises(DataError, match="fewer than one global batch of 32"):
        train(path, batch_size=32)


def test_a_damaged_beton_image_reaches_the_caller_within_seconds(betons, tmp_path):
    loader = train(damaged(betons, tmp_path))
    began = time.perf_counter()
    with pytest.raises(DataError, match="image 5 is damaged"):
        batches(loader)
    assert time.perf_counter() - began < 30
    assert ffcv_threads() == 0


def test_a_damaged_file_of_a_folder_reaches_the_caller(photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "photos")
    (copy / "train" / "class-1" / "002.jpg").write_bytes(b"hello")
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"002\.jpg is not an image"):
            batches(train(copy, workers=workers))


def ffcv_threads() -> int:
    return sum(type(thread).__name__ == "EpochThread" for thread in threading.enumerate())


def test_leaving_early_ends_the_thread(betons):
    loader = train(betons, batch_size=2)
    epoch = loader.epoch(0)
    next(epoch)
    epoch.close()
    assert ffcv_threads() == 0
    assert len(batches(loader)) == 12  # and it can be used again


def test_a_bug_in_ffcvs_thread_reaches_the_caller(betons, monkeypatch):
    from tleg_cli.data.ffcv.pipeline import EpochThread

    def fails(*arguments: object) -> None:
        raise ZeroDivisionError("from the thread")

    monkeypatch.setattr(EpochThread, "run_pipeline", fails)
    with pytest.raises(ZeroDivisionError, match="from the thread"):
        batches(train(betons))


def test_torchs_threads_are_left_as_they_are(betons):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batches(train(betons, workers=2))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_kind_of_path_chooses_the_loader(photos, betons):
    assert describe(data(photos)).kind == "images"
    assert describe(data(betons)).kind == "ffcv"
    assert describe(data(photos)).classes == describe(data(betons)).classes


def test_half_a_pair_is_refused(betons, tmp_path):
    shutil.copytree(betons, tmp_path / "half")
    (tmp_path / "half" / "val.beton").unlink()
    with pytest.raises(DataError, match=r"no data file at .*val\.beton"):
        describe(data(tmp_path / "half"))


def test_no_data_says_how_to_give_it():
    with pytest.raises(DataError, match="--data PATH"):
        describe(DataSection(image_size=8))


def test_without_ffcv_the_error_says_what_to_install(betons, monkeypatch):
    import sys

    from tleg_cli.data.ffcv import guard as ffcv_guard

    ffcv_guard.import_ffcv.cache_clear()
    monkeypatch.setitem(sys.modules, "ffcv", None)
    with pytest.raises(DataError, match="apt-get install pkg-config libturbojpeg0-dev libopencv-dev"):
        train(betons)
    ffcv_guard.import_ffcv.cache_clear()
