"""Image folders on the disk: which splits and classes there are, and which files. Reads listings only, no image."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tleg_cli.errors import DataError

TRAIN = ("train",)
VAL = ("val", "validation", "valid", "test")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

_log = logging.getLogger("tleg")


@dataclass(frozen=True)
class Listing:
    """One split. files: (images,) paths below `folder` as bytes, in a fixed order; labels: (images,) int64.

    Arrays, not lists: a million small objects would be copied into every forked worker, page by page, as they are counted.
    """

    folder: Path
    classes: tuple[str, ...]
    files: NDArray[np.bytes_]
    labels: NDArray[np.int64]

    def path(self, index: int) -> Path:
        """Where image `index` is."""
        return self.folder / os.fsdecode(bytes(self.files[index]))


def find_split(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these subfolders that is there."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def split_folders(root: Path) -> tuple[Path, Path]:
    """The folders of train and val. Raises DataError that says which of them is missing."""
    found = find_split(root, TRAIN), find_split(root, VAL)
    if found[0] is None or found[1] is None:
        missing = " and ".join(name for name, folder in zip(("train/", "val/"), found, strict=True) if folder is None)
        raise DataError(
            f"{root} has no {missing}; images belong in {root}/train/CLASS/ and {root}/val/CLASS/ "
            "(validation/, valid/ and test/ mean val/), files of `tleg prepare` are train.beton and val.beton"
        )
    return found[0], found[1]


def class_folders(root: Path) -> tuple[str, ...]:
    """The classes of both splits, numbers in numeric order as timm sorts them. Raises DataError where train and val differ."""
    train, val = (class_folders_of(folder) for folder in split_folders(root))
    if train != val:
        only = [f"{', '.join(map(repr, names[:3]))} only in {where}" for names, where in differences(train, val)]
        raise DataError(f"{root}: the classes of train and val differ: {'; '.join(only)}; both need the same folders")
    return train


def differences(train: tuple[str, ...], val: tuple[str, ...]) -> Iterator[tuple[list[str], str]]:
    """The classes that only one split has, and which one that is."""
    for mine, other, where in ((train, val, "train"), (val, train, "val")):
        if names := sorted(set(mine) - set(other), key=natural):
            yield names, where


def class_folders_of(folder: Path) -> tuple[str, ...]:
    """The folders in one split, numbers in numeric order as timm sorts them. Raises DataError if there are none."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"can't read {folder}: {error.strerror}") from error
    if not names:
        raise DataError(f"{folder} has no class folders; images belong in {folder}/CLASS/")
    return tuple(sorted(names, key=natural))


def natural(text: str) -> list[tuple[int, int, str]]:
    """The key by which class 2 comes before class 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def list_split(folder: Path, classes: tuple[str, ...]) -> Listing:
    """Every image below the class folders, however deep. Raises DataError for a class without images; says what it passes over."""
    files: list[bytes] = []
    labels: list[int] = []
    others: list[str] = []
    for label, name in enumerate(classes):
        found = sorted(_files(folder, name))
        images = [file for file in found if file.lower().endswith(SUFFIXES)]
        if not images:
            raise DataError(
                f"{folder / name} has no images ({', '.join(SUFFIXES)}); add some, or remove it in train and val"
            )
        files += [os.fsencode(file) for file in images]
        labels += [label] * len(images)
        others += [file for file in found if not file.lower().endswith(SUFFIXES)]
    if others:
        _log.warning("%s: passed over %d files that are no images, such as %s", folder, len(others), others[0])
    return Listing(folder, classes, np.array(files, dtype=np.bytes_), np.array(labels, dtype=np.int64))


def _files(folder: Path, name: str) -> Iterator[str]:
    """Paths below `folder`, beginning with `name`; hidden files are none."""

    def refuse(error: OSError) -> None:
        raise DataError(f"can't read {error.filename}: {error.strerror}") from error

    for where, _, files in os.walk(folder / name, onerror=refuse, followlinks=True):
        below = os.path.relpath(where, folder)
        yield from (f"{below}/{file}" for file in files if not file.startswith("."))
