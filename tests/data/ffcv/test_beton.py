"""Writing data files: whole or not there, compared with their source, and never hanging."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import prepare
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.ffcv.sidecar import read_sidecar
from tleg_cli.data.ffcv.verify import decoded, verify_beton
from tleg_cli.errors import DataError


def nothing(what: str, done: int, of: int) -> None:
    pass


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Which of the shared memory that this test made is still there; other processes have some of their own."""
    made: set[str] = set()
    create = SharedMemory.__init__

    def noted(self: SharedMemory, *arguments: object, **options: object) -> None:
        create(self, *arguments, **options)  # type: ignore[arg-type]
        made.add(self.name.lstrip("/"))

    monkeypatch.setattr(SharedMemory, "__init__", noted)

    def left() -> set[str]:
        assert made
        return {name for name in made if (Path("/dev/shm") / name).exists()}

    return left


def test_digits_come_back_pixel_by_pixel(tmp_path, left_behind):
    from tleg_cli.data.open_source import open_source

    out = prepare("digits", tmp_path / "out")
    split = open_source("digits").val()
    for place, pixels, label in decoded(out / "val.beton", nothing):
        image, expected = split[place]
        assert label == expected
        assert (pixels == np.asarray(image)).all()
    assert files(out) == {"train.beton", "train.json", "val.beton", "val.json"}
    assert not left_behind()


def test_jpeg_files_are_shrunk_and_described(photos, tmp_path):
    out = prepare(photos, tmp_path / "out", max_resolution=40, quality=90, write_mode="jpg")
    beton, sidecar = read_beton(out / "train.beton"), read_sidecar(out / "train.beton")
    assert max(beton.widths.max(), beton.heights.max()) == 40
    assert beton.jpeg.all()
    assert (sidecar.samples, sidecar.max_resolution, sidecar.quality, sidecar.write_mode) == (24, 40, 90, "jpg")
    assert sidecar.classes == ("class-0", "class-1", "class-2")
    report = verify_beton(out / "train.beton")
    assert (report.images, report.classes) == (24, 3)


def test_a_second_call_keeps_the_files_and_another_setting_is_refused(photos, tmp_path):
    out = prepare(photos, tmp_path / "out", write_mode="jpg")
    times = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    prepare(photos, out, write_mode="jpg")
    assert times == {file: file.stat().st_mtime_ns for file in out.iterdir()}
    with pytest.raises(DataError, match="--force"):
        prepare(photos, out, write_mode="jpg", quality=50)
    prepare(photos, out, write_mode="jpg", quality=50, force=True)
    assert read_sidecar(out / "val.beton").quality == 50


def test_bad_images_are_all_listed_and_nothing_is_written(photos, tmp_path, left_behind):
    copy = shutil.copytree(photos, tmp_path / "photos")
    (copy / "train" / "class-0" / "001.jpg").write_bytes(b"hello")
    (copy / "train" / "class-2" / "004.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        prepare(copy, tmp_path / "out", write_mode="jpg")
    assert "2 of 24 images" in str(caught.value)
    assert "class-0/001.jpg" in str(caught.value)
    assert "class-2/004.jpg" in str(caught.value)
    assert not files(tmp_path / "out")
    assert not multiprocessing.active_children()
    assert not left_behind()


def test_bad_images_can_be_left_out_and_are_written_down(photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "photos")
    (copy / "train" / "class-0" / "001.jpg").write_bytes(b"hello")
    out = prepare(copy, tmp_path / "out", write_mode="jpg", skip_bad=True)
    sidecar = read_sidecar(out / "train.beton")
    assert sidecar.samples == 23
    assert len(sidecar.skipped) == 1
    assert "001.jpg" in sidecar.skipped[0]
    assert read_beton(out / "train.beton").labels.tolist() == [0] * 7 + [1] * 8 + [2] * 8


@pytest.mark.parametrize("write_mode", ["jpg", "raw"])
def test_a_few_large_images_among_small_ones_need_no_option(tmp_path, write_mode):
    """Photographs of 12 and 27 megapixels, as ImageNet has them; the file stays small where the images are."""
    from tests.data.conftest import picture, write_folder

    small = write_folder(tmp_path / "photos", classes=2, train=3, val=2)
    out = prepare(small, tmp_path / "small", write_mode=write_mode)
    assert (out / "train.beton").stat().st_size < 8e6
    picture(1, 4288, 2848).save(small / "train" / "class-0" / "large.jpg", quality=80)
    noise = np.random.default_rng(0).integers(0, 256, (4200, 6400, 3), dtype=np.uint8)  # 15 MB as JPEG
    Image.fromarray(noise).save(small / "train" / "class-1" / "larger.jpg", quality=80)
    beton = read_beton(prepare(small, tmp_path / "out", write_mode=write_mode) / "train.beton")
    assert sorted(beton.widths.tolist())[-2:] == [4288, 6400]
    assert len(beton.labels) == 8


def test_a_killed_writing_process_ends_the_write(tmp_path, monkeypatch):
    import os

    from tleg_cli.data.ffcv.write import WriteOptions, write_beton

    class Deadly:
        def __len__(self) -> int:
            return 200

        def __getitem__(self, index: int) -> object:
            os._exit(9)

    with pytest.raises(DataError, match="a writing process ended with code 9"):
        write_beton(Deadly(), ("a",), tmp_path / "x.beton", WriteOptions(workers=2), "deadly", nothing)  # type: ignore[arg-type]
    assert not files(tmp_path)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_prepare_that_is_killed_leaves_no_process_and_the_next_one_no_rest_of_it(tmp_path):
    """An interrupted ImageNet would be 40 GB of a hidden file."""
    from tests.processes import alive, descendants, start, wait_until

    out = tmp_path / "out"
    arguments = ["prepare", "synthetic/3000x64", str(out), "--write-mode", "jpg"]
    process = start(arguments, tmp_path / "err")
    assert wait_until(lambda: list(out.glob(".train.beton.*.tmp")) and len(descendants(process)) > 1, process)
    workers = descendants(process)
    process.kill()
    process.wait()
    assert wait_until(lambda: not alive(workers), seconds=10)
    assert files(out)
    assert start(arguments, tmp_path / "err").wait(200) == 0, (tmp_path / "err").read_text()
    assert files(out) == {"train.beton", "train.json", "val.beton", "val.json"}


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


def test_train_and_val_must_go_together(betons, tmp_path):
    from tleg_cli.data.ffcv.sidecar import read_pair

    copy = shutil.copytree(betons, tmp_path / "pair")
    values = json.loads((copy / "val.json").read_text())
    (copy / "val.json").write_text(json.dumps({**values, "max_resolution": 12}))
    with pytest.raises(DataError, match=r"train and val differ in max_resolution \(None and 12\)"):
        read_pair(copy)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["class-0", "class-1", "dog"], r"'class-2' only in train; 'dog' only in val"),
        (["class-1", "class-0", "class-2"], r"another order: class 0 is 'class-0' in train and 'class-1' in val"),
        (["class-0"], r"'class-1', 'class-2' only in train"),
        (["class-0", "class-1", "class-2", *"abcde"], r"'a', 'b', 'c' and 2 more only in val"),
    ],
)
def test_classes_that_differ_are_named(betons, tmp_path, classes, words):
    from tleg_cli.data.ffcv.sidecar import read_pair

    copy = shutil.copytree(betons, tmp_path / "pair")
    values = json.loads((copy / "val.json").read_text())
    (copy / "val.json").write_text(json.dumps({**values, "classes": classes}))
    with pytest.raises(DataError, match=words):
        read_pair(copy)
