"""The record of a run's images changes with names, labels and numbers, and with nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.data.conftest import write_folder
from tleg_cli.data.ffcv.sidecar import Sidecar
from tleg_cli.data.images_record import of_sidecar, of_split
from tleg_cli.data.open_source import open_source
from tleg_cli.data.source import ArraySplit

SIDECAR = Sidecar(10, ("a", "b"), None, "raw", 90, 1000, "photos")


def test_a_folder_is_known_by_its_files_and_labels(tmp_path):
    folder = write_folder(tmp_path / "photos", classes=2, train=3, val=2)

    def record():
        return of_split(open_source(str(folder)).split("train"))

    first = record()
    assert first["images"] == 6
    assert record() == first
    moved = folder / "train" / "class-0" / "000.jpg"
    moved.rename(folder / "train" / "class-1" / "900.jpg")  # as many images, another label
    assert record()["images"] == 6
    assert record() != first
    (folder / "train" / "class-1" / "900.jpg").rename(moved)
    assert record() == first
    (folder / "train" / "class-0" / "001.jpg").unlink()
    assert record()["images"] == 5


def test_the_same_folder_elsewhere_is_the_same(tmp_path):
    one, other = (write_folder(tmp_path / name, classes=2, train=3, val=2) for name in ("one", "other"))
    assert of_split(open_source(str(one)).split("val")) == of_split(open_source(str(other)).split("val"))


def test_arrays_are_known_by_their_labels():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    one, other = (ArraySplit(images, np.array(labels)) for labels in ([0, 1, 0, 1], [0, 1, 1, 0]))
    assert of_split(one) != of_split(other)
    assert of_split(one)["images"] == of_split(other)["images"] == 4


class OfAPlugin:
    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[object, int]:
        raise AssertionError("no image is read")


def test_a_split_that_lists_nothing_is_known_by_its_number():
    assert of_split(OfAPlugin()) == {"images": 7}


def test_a_beton_is_known_by_what_decides_its_images():
    assert of_sidecar(replace(SIDECAR, source=str(Path("elsewhere")))) == of_sidecar(SIDECAR)
    for change in ({"bytes": 1001}, {"classes": ("b", "a")}, {"quality": 80}, {"skipped": ("x.jpg",)}, {"samples": 9}):
        assert of_sidecar(replace(SIDECAR, **change)) != of_sidecar(SIDECAR), change
