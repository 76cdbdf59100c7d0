"""Data sets as they are published, without moving a file: what isn't train/CLASS and val/CLASS is recognised by its lists.

Tiny-ImageNet, ImageNet-1k as Kaggle packs it, iNaturalist, Food-101, Mini-ImageNet, CIFAR. docs/datasets.md has the commands.
"""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.data.class_names import LONGEST, in_order, is_hidden, spell
from tleg_cli.data.folders import Listing, class_folders_of, list_split
from tleg_cli.data.source import FileSplit
from tleg_cli.errors import DataError
from tleg_cli.files import open_regular, special_file
from tleg_cli.hookspecs import Source

Labelled = Iterable[tuple[str, str]]  # (path below the root, class)
_CIFAR = {"cifar-10-batches-py": "cifar10", "cifar-100-python": "cifar100"}
_SCORED = 1 / 6  # of each class of Mini-ImageNet: 100 of 600
_LARGEST_LIST = 1 << 30  # bytes; the largest published one, iNaturalist's, has a fifth of that


@dataclass(frozen=True)
class _Layout:
    """What a recognised folder holds; the images of a split are listed when it is opened."""

    classes: Iterable[str]
    train: Callable[[], Labelled]
    val: Callable[[], Labelled]


def known_layout(root: Path, *, exif_orientation: bool) -> Source | None:
    """The source of a folder in a published layout, None if it is in none. Raises DataError for one that is broken."""
    for recognise in (_tiny_imagenet, _kaggle_imagenet, _inaturalist, _food, _mini_imagenet):
        layout = recognise(root)
        if layout is not None:
            classes = in_order({spell(name, root) for name in layout.classes})
            open_split = partial(_open_split, root, classes, exif_orientation)
            return Source(str(root), classes, partial(open_split, layout.train), partial(open_split, layout.val))
    return _cifar(root, exif_orientation)


def _open_split(
    root: Path, classes: tuple[str, ...], exif_orientation: bool, labelled: Callable[[], Labelled]
) -> FileSplit:
    number = {name: label for label, name in enumerate(classes)}
    pairs = [(file, spell(name, root)) for file, name in labelled() if not any(map(is_hidden, file.split("/")))]
    unknown = in_order({name for _, name in pairs} - set(number))
    if unknown:
        raise DataError(f"{root}: class {unknown[0]!r} is in one split only; both need the same classes")
    pairs.sort(key=lambda pair: (number[pair[1]], pair[0]))
    files = np.array([os.fsencode(file) for file, _ in pairs], dtype=np.bytes_)
    labels = np.array([number[name] for _, name in pairs], dtype=np.int64)
    if not len(files) or not os.path.isfile(root / pairs[0][0]):
        raise DataError(f"{root}: {pairs[0][0] if pairs else 'no image'} is in the list, but not in the folder")
    return FileSplit(Listing(root, classes, files, labels), exif_orientation)


def _exists(file: Path) -> bool:
    """Whether a list exists. Raises DataError for a FIFO or a device in its place, which would never end."""
    try:
        kind = special_file(file.stat().st_mode)
    except OSError:
        return False
    if kind is not None:
        raise DataError(f"{file} is {kind}, not a list of images; remove it")
    return file.is_file()


def _lines(file: Path) -> list[str]:
    """File names that aren't UTF-8 are kept as Python keeps them, so that they find their file."""
    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > _LARGEST_LIST:
                raise DataError(f"{file} has {size} bytes, and lists of up to {_LARGEST_LIST} are read; is it a list?")
            return opened.read().decode("utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror}") from error


def _inside(file: str, listed_in: Path) -> str:
    """A file name from a list. Raises DataError for one that leads out of the data set or that no file system takes."""
    parts = file.split("/")
    if file.startswith("/") or ".." in parts or "\0" in file:
        raise DataError(f"{listed_in} names {file[:100]!a}, which is outside the data set; remove that entry")
    try:
        fits = all(len(os.fsencode(part)) <= LONGEST for part in parts) and len(parts) <= LONGEST
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise DataError(f"{listed_in} names {file[:40]!a}..., which can't be a file name; remove that entry")
    return file


def _images_below(root: Path, folder: str, classes: Sequence[str]) -> Labelled:
    listing = list_split(root / folder, tuple(classes))
    for file, label in zip(listing.files, listing.labels, strict=True):
        yield f"{folder}/{os.fsdecode(bytes(file))}", classes[label]


def _tiny_imagenet(root: Path) -> _Layout | None:
    """train/WNID/images/*.JPEG; val/images/*.JPEG in one folder, their classes in val/val_annotations.txt."""
    notes = root / "val" / "val_annotations.txt"
    if not _exists(notes):
        return None
    classes = class_folders_of(root / "train")

    def val() -> Labelled:
        for line in filter(None, _lines(notes)):
            file, _, rest = line.partition("\t")
            yield f"val/images/{_inside(file, notes)}", rest.partition("\t")[0]

    return _Layout(classes, lambda: _images_below(root, "train", classes), val)


def _kaggle_imagenet(root: Path) -> _Layout | None:
    """[ILSVRC/]Data/CLS-LOC/train/WNID/*.JPEG; val/*.JPEG in one folder, their classes in LOC_val_solution.csv."""
    notes = root / "LOC_val_solution.csv"
    if not _exists(notes):
        return None
    places = [place for place in ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".") if (root / place / "train").is_dir()]
    if not places:
        raise DataError(f"{root} has LOC_val_solution.csv, but no ILSVRC/Data/CLS-LOC/train")
    base = places[0]
    classes = class_folders_of(root / base / "train")

    def val() -> Labelled:
        for row in _table(notes, ("ImageId", "PredictionString")):
            yield f"{base}/val/{_inside(row['ImageId'], notes)}.JPEG", row["PredictionString"].split(" ")[0]

    return _Layout(classes, lambda: _images_below(root, f"{base}/train", classes), val)


def _table(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file. Raises DataError unless all of them have these columns."""
    try:
        rows = list(csv.DictReader(_lines(file)))
    except csv.Error as error:
        raise DataError(f"{file} is not a CSV file that can be read ({error})") from None
    if missing := [name for name in columns if not rows or name not in rows[0]]:
        raise DataError(f"{file} has no column {missing[0]!r}")
    for number, row in enumerate(rows, 2):
        if any(row[name] is None for name in columns):
            raise DataError(f"{file}: row {number} has no {next(name for name in columns if row[name] is None)!r}")
    return rows


def _inaturalist(root: Path) -> _Layout | None:
    """train2019.json and val2019.json (COCO's format, any year), whose file names begin at the root. Classes are category ids."""
    train = sorted(root.glob("train20??.json"))
    if not train:
        return None
    val = train[0].with_name(train[0].name.replace("train", "val"))
    if not _exists(val):
        raise DataError(f"{root} has {train[0].name}, but no {val.name}")
    classes = {name for _, name in _coco(train[0])}
    return _Layout(classes, partial(_coco, train[0]), partial(_coco, val))


def _coco(file: Path) -> list[tuple[str, str]]:
    try:
        content: Mapping[str, Any] = json.loads("\n".join(_lines(file)))
        category = {note["image_id"]: str(note["category_id"]) for note in content["annotations"]}
        return [(_inside(str(image["file_name"]), file), category[image["id"]]) for image in content["images"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file} isn't in COCO's format: {type(error).__name__}: {error}") from None


def _food(root: Path) -> _Layout | None:
    """images/CLASS/*.jpg, the splits in meta/train.txt and meta/test.txt: CLASS/NUMBER a line."""
    train, val = root / "meta" / "train.txt", root / "meta" / "test.txt"
    if not _exists(train) or not _exists(val):
        return None

    def listed(file: Path) -> Labelled:
        return [(f"images/{_inside(line, file)}.jpg", line.partition("/")[0]) for line in _lines(file) if line]

    return _Layout({name for _, name in listed(train)}, partial(listed, train), partial(listed, val))


def _mini_imagenet(root: Path) -> _Layout | None:
    """images/*.jpg with train.csv, val.csv, test.csv (filename, label), or new_train.csv and new_val.csv.

    The three lists share no class: they were made for few-shot learning. Put together, they are 100 classes of 600 images,
    of which the last sixth of each, by name, is scored.
    """
    if not (root / "images").is_dir():
        return None
    if _exists(root / "new_train.csv") and _exists(root / "new_val.csv"):
        train, val = ([*_named(root / f"new_{split}.csv")] for split in ("train", "val"))
    else:
        lists = [root / f"{split}.csv" for split in ("train", "val", "test") if _exists(root / f"{split}.csv")]
        if len(lists) < 2:
            return None
        train, val = _by_class([pair for file in lists for pair in _named(file)])
    return _Layout({name for _, name in train}, lambda: train, lambda: val)


def _named(file: Path) -> Labelled:
    return [(f"images/{_inside(row['filename'], file)}", row["label"]) for row in _table(file, ("filename", "label"))]


def _by_class(pairs: Labelled) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Each class cut in two, by file name."""
    files = defaultdict(list)
    for file, name in sorted(pairs):
        files[name].append((file, name))
    scored = {name: max(1, round(len(those) * _SCORED)) for name, those in files.items()}
    train = [pair for name, those in files.items() for pair in those[: -scored[name]]]
    return train, [pair for name, those in files.items() for pair in those[-scored[name] :]]


def _cifar(root: Path, exif_orientation: bool) -> Source | None:
    """The Python version of CIFAR-10 and CIFAR-100, which torchvision reads after checking its hashes."""
    from tleg_cli.data.timm_sources import timm_source

    found = [name for folder, name in _CIFAR.items() if (root / folder).is_dir()]
    return timm_source(f"torch/{found[0]}:{root}", exif_orientation=exif_orientation) if found else None
