"""Image folders on the disk: which splits and classes there are, and which files. Reads listings only, no image."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tleg_cli.data.class_names import in_order, is_hidden, same_classes, spell
from tleg_cli.errors import DataError, printable
from tleg_cli.files import special_file

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
    """The first of these subfolders that exists."""
    return next((root / name for name in names if os.path.isdir(root / name)), None)


def split_folders(root: Path) -> tuple[Path, Path]:
    """The folders of train and val. Raises DataError that says which of them is missing."""
    train, val = find_split(root, TRAIN), find_split(root, VAL)
    if train is None or val is None:
        missing = " and ".join(name for name, folder in (("train/", train), ("val/", val)) if folder is None)
        raise DataError(
            f"{root} has no {missing}; images belong in {root}/train/CLASS/ and {root}/val/CLASS/ "
            "(validation/, valid/ and test/ mean val/), files of `tleg prepare` are train.beton and val.beton"
        )
    return train, val


def class_folders(root: Path) -> tuple[str, ...]:
    """The classes of both splits in the order of class_names.in_order. Raises DataError if train and val differ."""
    train, val = (class_folders_of(folder) for folder in split_folders(root))
    same_classes(train, val, root)
    return train


def class_folders_of(folder: Path) -> tuple[str, ...]:
    """The classes of one split, in order. Raises DataError if there are none."""
    return in_order(_spellings(folder))


def list_split(folder: Path, classes: tuple[str, ...]) -> Listing:
    """Every image below the class folders, however deep. Raises DataError for a class without images.

    Files that aren't images, and links to folders that belong to another class or contain this one, are passed over with a warning.
    """
    files: list[bytes] = []
    labels: list[int] = []
    walk = _walk_classes(folder)
    for label, name in enumerate(classes):
        images = sorted(walk.images.get(name, []))
        if not images:
            raise DataError(
                f"{folder / name} has no images ({', '.join(SUFFIXES)}); add some, or remove it in train and val"
            )
        files += [os.fsencode(file) for file in images]
        labels += [label] * len(images)
    _warn(walk)
    return Listing(folder, classes, np.array(files, dtype=np.bytes_), np.array(labels, dtype=np.int64))


def list_images(folder: Path) -> NDArray[np.bytes_]:
    """Every image below `folder`, as paths below it in the order of their names. Raises DataError if there is none."""
    walk = _Walk(folder)
    links = walk.visit(".", "")
    while links:
        links = [link for path in links for link in walk.visit(path, "")]
    _warn(walk)
    files = sorted(os.fsencode(file.removeprefix("./")) for file in walk.images.get("", []))
    if not files:
        raise DataError(f"{folder} has no images ({', '.join(SUFFIXES)})")
    return np.array(files, dtype=np.bytes_)


def _warn(walk: _Walk) -> None:
    passed_over = (
        (walk.others, "files that are not images"),
        (walk.outside, "images outside the class folders"),
        (walk.loops, "links to folders that are listed already or contain this one"),
    )
    for found, what in passed_over:
        if found:
            _log.warning("%s: passed over %d %s, such as %s", walk.folder, len(found), what, printable(min(found)))


def _spellings(folder: Path) -> dict[str, list[str]]:
    """Class name -> the folders of that name: two, if some images came from macOS and the name has an accent."""
    found: dict[str, list[str]] = {}
    for entry in _scan(folder):
        if _is_folder(entry) and not is_hidden(entry.name):
            found.setdefault(spell(entry.name, folder), []).append(entry.name)
    if not found:
        raise DataError(f"{folder} has no class folders; images belong in {folder}/CLASS/")
    return found


def _scan(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"can't read {folder}: {error.strerror}") from error


@dataclass
class _Walk:
    """What lies below the class folders of a split; paths begin below `folder`. Each real folder is visited once."""

    folder: Path
    images: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)  # real paths

    def visit(self, top: str, name: str) -> list[str]:
        """Lists `top` and its real subfolders for class `name`. Returns the linked folders, which are visited after all real ones."""
        links: list[str] = []
        todo = deque([top])
        while todo:
            below = todo.popleft()
            real = os.path.realpath(self.folder / below)
            if real in self.visited:
                self.loops.append(below)
                continue
            self.visited.add(real)
            for entry in _scan(self.folder / below):
                path = f"{below}/{entry.name}"
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    (links if entry.is_symlink() else todo).append(path)
                else:
                    self._file(entry, path, name)
        return links

    def _file(self, entry: os.DirEntry[str], path: str, name: str) -> None:
        if not path.lower().endswith(SUFFIXES):
            self.others.append(path)
            return
        if not entry.is_file():
            _refuse_special(entry)
        self.images.setdefault(name, []).append(path)


def _walk_classes(folder: Path) -> _Walk:
    """Lists a split: first every real folder, then those that links lead to, so that a folder keeps the class it lies in."""
    walk = _Walk(folder)
    real = folder.resolve()
    walk.visited |= {str(real), *map(str, real.parents)}
    walk.outside = [entry.name for entry in _scan(folder) if is_image(entry.name) and not _is_folder(entry)]
    tops = [(directory, name) for name, directories in sorted(_spellings(folder).items()) for directory in directories]
    _refuse_aliases(folder, tops)
    links = [(link, name) for directory, name in tops for link in walk.visit(directory, name)]
    while links:
        links = [(link, name) for path, name in links for link in walk.visit(path, name)]
    return walk


def _refuse_aliases(folder: Path, tops: list[tuple[str, str]]) -> None:
    """Raises DataError if two classes are one folder under two names: each image would have two labels."""
    first: dict[str, str] = {}
    for directory, name in tops:
        other = first.setdefault(os.path.realpath(folder / directory), name)
        if other != name:
            raise DataError(
                f"{folder}: the classes {other!r} and {name!r} are the same folder; remove one of the links"
            )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Links are followed; one that leads to itself is not a folder."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _refuse_special(entry: os.DirEntry[str]) -> None:
    """Raises DataError for a FIFO, socket or device. A link that leads nowhere is reported when it is read."""
    with contextlib.suppress(OSError):
        kind = special_file(entry.stat().st_mode)
        if kind is not None:
            raise DataError(f"{entry.path} is {kind}, not an image; remove it")


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)
