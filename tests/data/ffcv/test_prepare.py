"""`prepare_folder`: every image its own, changed sources noticed, complete splits kept, bad images listed."""

import fcntl
import json
import multiprocessing
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import picture, prepare
from tests.data.ffcv.test_beton import images
from tleg_cli.data.ffcv.codec import WriteOptions
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.ffcv.processes import in_order
from tleg_cli.data.ffcv.sidecar import Sidecar, read_pair, read_sidecar
from tleg_cli.data.ffcv.write import Task, write_beton
from tleg_cli.errors import DataError

FILES = {"train.beton", "train.json", "val.beton", "val.json"}


def nothing(what: str, done: int, of: int) -> None:
    pass


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def times(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


@pytest.fixture
def copy(photos: Path, tmp_path: Path) -> Path:
    return shutil.copytree(photos, tmp_path / "photos")


def bitmaps(folder: Path, *, first: int = 0, classes: int = 2, each: int = 6) -> Path:
    """Files of one size whatever is in them."""
    for split in ("train", "val"):
        for label in range(classes):
            place = folder / split / f"class-{label}"
            place.mkdir(parents=True, exist_ok=True)
            for number in range(each):
                picture(first + 100 * label + number, 20, 20).save(place / f"{number}.bmp")
    return folder


def test_every_image_of_a_tar_comes_from_its_own_place(tmp_path):
    """With four processes that share a file position, most runs mixed images up."""
    number = 0
    for split, count in (("train", 600), ("val", 60)):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as tar:
            for index in range(count):
                number += 1
                file = tmp_path / f"{number:05}.png"
                Image.new("RGB", (24, 24), (number % 256, number // 256, 7)).save(file)
                tar.add(file, arcname=f"c{index % 3}/{number:05}.png")
                file.unlink()
    out = prepare(tmp_path, tmp_path / "out", write_mode="raw", workers=4)
    found = [tuple(pixels[0, 0].tolist()) for pixels in images(read_beton(out / "train.beton"))]
    expected = [number for label in range(3) for number in range(1, 601) if (number - 1) % 3 == label]
    assert found == [(number % 256, number // 256, 7) for number in expected]
    assert read_sidecar(out / "train.beton").compared == 600


@pytest.mark.parametrize("outlier", ["first", "last", "large"])
def test_one_image_doesn_t_decide_how_all_are_stored(tmp_path, outlier):
    folder = tmp_path / "images"
    side, expected = (24, "raw") if outlier == "large" else (100, "jpg")
    for split, count in (("train", 40), ("val", 2)):
        for label in "ab":
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                picture(number, side, side).save(folder / split / label / f"{number:03}.png")
    strange = {"first": ("a/000.png", 1), "last": ("b/039.png", 1), "large": ("a/000.png", 400)}[outlier]
    picture(0, strange[1], strange[1]).save(folder / "train" / strange[0])
    sidecar = read_sidecar(prepare(folder, tmp_path / "out") / "train.beton")
    assert sidecar.write_mode == expected
    assert "80 images have" in sidecar.mode_reason


def test_a_second_call_keeps_the_files_and_another_setting_is_refused(photos, tmp_path):
    out = prepare(photos, tmp_path / "out", write_mode="jpg")
    before = times(out)
    prepare(photos, out, write_mode="jpg")
    assert times(out) == before
    prepare(photos, out)  # auto: as they are
    assert times(out) == before
    for other in ({"quality": 50}, {"max_resolution": 80}, {"exif_orientation": False}):
        with pytest.raises(DataError, match="other settings.*--force"):
            prepare(photos, out, write_mode="jpg", **other)
    prepare(photos, out, write_mode="jpg", quality=50, force=True)
    assert read_sidecar(out / "val.beton").quality == 50


def test_the_same_files_under_another_path_are_kept(copy, tmp_path, monkeypatch):
    out = prepare(copy, tmp_path / "out", write_mode="jpg")
    before = times(out)
    (tmp_path / "link").symlink_to(copy)
    prepare(tmp_path / "link", out, write_mode="jpg")
    monkeypatch.chdir(tmp_path)
    prepare("photos", out, write_mode="jpg")
    assert times(out) == before


def relabel(folder: Path) -> None:
    """Two images change places, under each other's names."""
    one, other = folder / "train" / "class-0" / "1.bmp", folder / "train" / "class-1" / "1.bmp"
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)


def move_to_another_class(folder: Path) -> None:
    (folder / "val" / "class-0" / "1.bmp").rename(folder / "val" / "class-1" / "9.bmp")


def replace_one(folder: Path) -> None:
    picture(77, 20, 20).save(folder / "train" / "class-0" / "3.bmp")  # as many bytes as before


def replace_all(folder: Path) -> None:
    shutil.rmtree(folder)
    bitmaps(folder, first=50)


def rename_one(folder: Path) -> None:
    (folder / "train" / "class-0" / "1.bmp").rename(folder / "train" / "class-0" / "10.bmp")


@pytest.mark.parametrize("change", [relabel, move_to_another_class, replace_one, replace_all, rename_one])
def test_a_source_that_has_changed_is_noticed(tmp_path, change):
    source = bitmaps(tmp_path / "source")
    out = prepare(source, tmp_path / "out")
    before = times(out)
    change(source)
    with pytest.raises(DataError, match="changed") as caught:
        prepare(source, out)
    assert "--force" in str(caught.value)
    assert times(out) == before
    prepare(source, out, force=True)
    prepare(source, out)


@pytest.mark.parametrize("split", ["train", "val"])
def test_files_that_were_only_touched_are_compared_and_kept(tmp_path, split):
    source = bitmaps(tmp_path / "source")
    out = prepare(source, tmp_path / "out")
    before = times(out)
    for file in (source / split).rglob("*.bmp"):
        os.utime(file)
    prepare(source, out)
    assert times(out)[f"{split}.beton"] == before[f"{split}.beton"]
    train, val = read_pair(out)
    assert train.pair == val.pair


def test_a_plugins_images_that_have_changed_are_noticed(tmp_path, monkeypatch):
    from tleg_cli import plugin_manager
    from tleg_cli.data.source import ArraySplit
    from tleg_cli.hookspecs import Source

    pixels, labels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), np.arange(30) % 3

    def opened() -> ArraySplit:
        return ArraySplit(pixels.copy(), labels.copy())

    source = Source("mine/x", ("a", "b", "c"), opened, opened, in_memory=True)
    monkeypatch.setattr(plugin_manager, "sources", lambda: {"mine": lambda rest: source})
    out = prepare("mine/x", tmp_path / "out")
    prepare("mine/x", out)
    labels[4] = 2
    with pytest.raises(DataError, match="changed"):
        prepare("mine/x", out)


def without_fingerprints(out: Path) -> None:
    """As the first version of sidecars was."""
    new = {"exif_orientation", "mode_reason", "compared", "listing", "times", "pair"}
    for file in out.glob("*.json"):
        values = {name: value for name, value in json.loads(file.read_text()).items() if name not in new}
        file.write_text(json.dumps({**values, "format_version": 1}))


def test_files_of_an_older_version_are_compared_with_their_source(tmp_path):
    source = bitmaps(tmp_path / "source")
    out = prepare(source, tmp_path / "out", exif_orientation=False)
    without_fingerprints(out)
    before = times(out)
    prepare(source, out, exif_orientation=False)
    assert times(out)["train.beton"] == before["train.beton"]
    assert read_sidecar(out / "train.beton").listing
    without_fingerprints(out)
    relabel(source)
    with pytest.raises(DataError, match="changed"):
        prepare(source, out, exif_orientation=False)


def test_the_second_half_is_written_where_only_the_first_is_complete(photos, tmp_path):
    out = prepare(photos, tmp_path / "out", write_mode="jpg")
    expected, before = (out / "val.beton").read_bytes(), times(out)
    (out / "val.beton").unlink()
    (out / ".val.beton.0123abcd.tleg.tmp").write_bytes(b"half")
    (out / ".val.beton.0123abcd.tmp").write_bytes(b"somebody else's")
    prepare(photos, out, write_mode="jpg")
    assert (out / "val.beton").read_bytes() == expected
    assert times(out)["train.beton"] == before["train.beton"]
    assert files(out) == FILES | {".val.beton.0123abcd.tmp"}


@pytest.mark.parametrize("written", ["train", "val"])
def test_half_of_another_source_is_no_pair(tmp_path, written):
    """What a `prepare --force` leaves that is killed between the two files; the sources differ in the pixels only."""
    one = prepare(bitmaps(tmp_path / "one"), tmp_path / "out-one")
    other = prepare(bitmaps(tmp_path / "other", first=50), tmp_path / "out-other")
    for suffix in ("beton", "json"):
        shutil.copy(other / f"{written}.{suffix}", one)
    with pytest.raises(DataError, match="different calls of `tleg prepare`, or from different sources"):
        read_pair(one)
    with pytest.raises(DataError, match="changed"):
        prepare(tmp_path / "one", one)
    prepare(tmp_path / "one", one, force=True)
    read_pair(one)


def test_an_old_file_never_meets_a_new_sidecar(tmp_path, monkeypatch):
    """Both betons have the same size: killed at any step, --force must not leave labels of the one with pixels of the other."""
    import tleg_cli.data.ffcv.write as write

    source = bitmaps(tmp_path / "source")
    out = prepare(source, tmp_path / "out")
    relabel(source)
    old = {name: (out / name).read_bytes() for name in FILES}
    seen = []

    def killed(path: Path, sidecar: Sidecar) -> None:
        seen.append({name for name in FILES if (out / name).exists() and (out / name).read_bytes() == old[name]})
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "write_sidecar", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, force=True)
    assert seen == [FILES - {"train.beton"}]
    with pytest.raises(DataError, match=r"no data file at .*train\.beton"):
        read_pair(out)


def test_two_calls_at_once_are_refused(photos, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another `tleg prepare` is writing to"):
        prepare(photos, tmp_path)
    os.close(folder)
    prepare(photos, tmp_path)


def test_bad_images_are_all_listed_and_nothing_is_written(copy, tmp_path):
    (copy / "train" / "class-0" / "001.jpg").write_bytes(b"hello")
    (copy / "train" / "class-2" / "004.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        prepare(copy, tmp_path / "out", write_mode="jpg")
    assert "2 of 24 images" in str(caught.value)
    assert "class-0/001.jpg" in str(caught.value)
    assert "class-2/004.jpg" in str(caught.value)
    assert not files(tmp_path / "out")
    assert not multiprocessing.active_children()


def test_bad_images_can_be_left_out_and_are_written_down(copy, tmp_path):
    (copy / "train" / "class-0" / "001.jpg").write_bytes(b"hello")
    out = prepare(copy, tmp_path / "out", write_mode="jpg", skip_bad=True)
    sidecar = read_sidecar(out / "train.beton")
    assert (sidecar.samples, sidecar.compared, len(sidecar.skipped)) == (23, 23, 1)
    assert "001.jpg" in sidecar.skipped[0]
    beton = read_beton(out / "train.beton")
    assert beton.labels.tolist() == [0] * 7 + [1] * 8 + [2] * 8
    assert len(images(beton)) == 23


class Split:
    """200 small images; image 77 does `what`."""

    def __init__(self, what: object) -> None:
        self.what = what

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index == 77:
            self.what()  # type: ignore[operator]
        return Image.new("RGB", (8, 8), (index, 0, 0)), 0


def out_of_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda: os._exit(9), "ended with code 9 at image 77"),
        (lambda: os.kill(os.getpid(), 9), r"ended with code -9 at image 77 \(memory may be full\)"),
        (out_of_memory, "memory is full"),
        (lambda: 1 // 0, "ended with code 1 at image 77"),
    ],
)
@pytest.mark.timeout(60)
def test_a_process_that_dies_ends_the_write(tmp_path, what, words):
    task = Task(Split(what), ("a",), WriteOptions("raw"), processes=3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        write_beton(task, tmp_path / "x.beton", Sidecar(0, ("a",), None, "raw", 90, 0, "x"), nothing)
    assert not files(tmp_path)
    assert not multiprocessing.active_children()


@pytest.mark.timeout(60)
def test_a_parent_whose_libraries_have_threads_of_their_own_can_write(tmp_path):
    """In a fork torch's threads don't exist: whoever waits for them waits forever."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.nn.functional.interpolate(torch.rand(8, 3, 8, 8), size=(256, 256), mode="bilinear")
        prepare("synthetic/12x256x2", tmp_path, write_mode="jpg", workers=2)
    finally:
        torch.set_num_threads(before)


def test_results_come_in_order_whatever_each_takes():
    import time

    def work(number: int) -> bytes:
        time.sleep(0.02 * (number % 3 == 0))
        if number == 5:
            raise DataError("five")
        return bytes([number]) * (1 + 100_000 * (number % 4))

    found = list(in_order(work, 30, 3))
    assert str(found[5]) == "five"
    assert [result[0] for number, result in enumerate(found) if number != 5] == [n for n in range(30) if n != 5]  # type: ignore[index]
    assert list(in_order(work, 0, 3)) == []


@pytest.mark.parametrize("label", [-1, 3, 1 << 40])
def test_a_label_outside_the_classes_is_refused(tmp_path, monkeypatch, label):
    from tleg_cli import plugin_manager
    from tleg_cli.data.source import ArraySplit
    from tleg_cli.hookspecs import Source

    def opened() -> ArraySplit:
        return ArraySplit(np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, label, 2]))

    source = Source("mine", ("a", "b", "c"), opened, opened)
    monkeypatch.setattr(plugin_manager, "sources", lambda: {"mine": lambda rest: source})
    with pytest.raises(DataError, match=f"image 2 has label {label}, but there are 3 classes"):
        prepare("mine/x", tmp_path / "out")
