"""Data sets as they are published, without moving a file: what is no train/CLASS and val/CLASS is recognised by its lists.

Tiny-ImageNet, ImageNet-1k as Kaggle packs it, iNaturalist, Food-101, Mini-ImageNet, CIFAR. docs/datasets.md has the commands.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.data.folders import Listing, class_folders_of, list_split, natural
from tleg_cli.data.source import FileSplit
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source

Labelled = Iterable[tuple[str, str]]  # (path below the root, class)
_CIFAR = {"cifar-10-batches-py": "cifar10", "cifar-100-python": "cifar100"}
_SCORED = 1 / 6  # of each class of Mini-ImageNet: 100 of 600


def known_layout(root: Path) -> Source | None:
    """The source of a folder in a published layout, None if it is in none. Raises DataError for one that is broken."""
    for recognise in (_tiny_imagenet, _kaggle_imagenet, _inaturalist, _food, _mini_imagenet, _cifar):
        source = recognise(root)
        if source is not None:
            return source
    return None


def _source(root: Path, classes: Iterable[str], train: Callable[[], Labelled], val: Callable[[], Labelled]) -> Source:
    names = tuple(sorted(classes, key=natural))
    return Source(str(root), names, partial(_split, root, names, train), partial(_split, root, names, val))


def _split(root: Path, classes: tuple[str, ...], labelled: Callable[[], Labelled]) -> FileSplit:
    number = {name: label for label, name in enumerate(classes)}
    pairs = list(labelled())
    strange = sorted({name for _, name in pairs} - set(number))
    if strange:
        raise DataError(f"{root}: {strange[0]!r} is a class of the one split and not of the other")
    pairs.sort(key=lambda pair: (number[pair[1]], pair[0]))
    files = np.array([file.encode() for file, _ in pairs], dtype=np.bytes_)
    labels = np.array([number[name] for _, name in pairs], dtype=np.int64)
    if not len(files) or not (root / pairs[0][0]).is_file():
        raise DataError(f"{root}: {pairs[0][0] if pairs else 'no image'} is in the list, but not in the folder")
    return FileSplit(Listing(root, classes, files, labels))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"can't read {file}: {getattr(error, 'strerror', None) or 'no text'}") from error


def _images_below(root: Path, folder: str, classes: Sequence[str]) -> Labelled:
    listing = list_split(root / folder, tuple(classes))
    for file, label in zip(listing.files, listing.labels, strict=True):
        yield f"{folder}/{bytes(file).decode()}", classes[label]


def _tiny_imagenet(root: Path) -> Source | None:
    """train/WNID/images/*.JPEG; val/images/*.JPEG in one folder, their classes in val/val_annotations.txt."""
    notes = root / "val" / "val_annotations.txt"
    if not notes.is_file():
        return None
    classes = class_folders_of(root / "train")

    def val() -> Labelled:
        for line in filter(None, _lines(notes)):
            file, _, rest = line.partition("\t")
            yield f"val/images/{file}", rest.partition("\t")[0]

    return _source(root, classes, lambda: _images_below(root, "train", classes), val)


def _kaggle_imagenet(root: Path) -> Source | None:
    """[ILSVRC/]Data/CLS-LOC/train/WNID/*.JPEG; val/*.JPEG in one folder, their classes in LOC_val_solution.csv."""
    notes = root / "LOC_val_solution.csv"
    if not notes.is_file():
        return None
    places = [place for place in ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ".") if (root / place / "train").is_dir()]
    if not places:
        raise DataError(f"{root} has LOC_val_solution.csv, but no ILSVRC/Data/CLS-LOC/train")
    base = places[0]
    classes = class_folders_of(root / base / "train")

    def val() -> Labelled:
        for row in _table(notes, ("ImageId", "PredictionString")):
            yield f"{base}/val/{row['ImageId']}.JPEG", row["PredictionString"].split(" ")[0]

    return _source(root, classes, lambda: _images_below(root, f"{base}/train", classes), val)


def _table(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_lines(file)))
    missing = [name for name in columns if not rows or rows[0].get(name) is None]
    if missing:
        raise DataError(f"{file} has no column {missing[0]!r}")
    return rows


def _inaturalist(root: Path) -> Source | None:
    """train2019.json and val2019.json (COCO's format, any year), whose file names begin at the root. Classes are category ids."""
    train = sorted(root.glob("train20??.json"))
    if not train:
        return None
    val = train[0].with_name(train[0].name.replace("train", "val"))
    if not val.is_file():
        raise DataError(f"{root} has {train[0].name}, but no {val.name}")
    classes = {name for _, name in _coco(train[0])}
    return _source(root, classes, partial(_coco, train[0]), partial(_coco, val))


def _coco(file: Path) -> list[tuple[str, str]]:
    import json

    try:
        content: Mapping[str, Any] = json.loads("\n".join(_lines(file)))
        category = {note["image_id"]: str(note["category_id"]) for note in content["annotations"]}
        return [(str(image["file_name"]), category[image["id"]]) for image in content["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} isn't in COCO's format: {type(error).__name__}: {error}") from None


def _food(root: Path) -> Source | None:
    """images/CLASS/*.jpg, the splits in meta/train.txt and meta/test.txt: CLASS/NUMBER a line."""
    train, val = root / "meta" / "train.txt", root / "meta" / "test.txt"
    if not train.is_file() or not val.is_file():
        return None

    def listed(file: Path) -> Labelled:
        return [(f"images/{line}.jpg", line.partition("/")[0]) for line in _lines(file) if line]

    return _source(root, {name for _, name in listed(train)}, partial(listed, train), partial(listed, val))


def _mini_imagenet(root: Path) -> Source | None:
    """images/*.jpg with train.csv, val.csv, test.csv (filename, label), or new_train.csv and new_val.csv.

    The three lists share no class: they were made for few-shot learning. Put together, they are 100 classes of 600 images,
    of which the last sixth of each, by name, is scored.
    """
    if not (root / "images").is_dir():
        return None
    if (root / "new_train.csv").is_file() and (root / "new_val.csv").is_file():
        train, val = ([*_named(root / f"new_{split}.csv")] for split in ("train", "val"))
    else:
        lists = [root / f"{split}.csv" for split in ("train", "val", "test") if (root / f"{split}.csv").is_file()]
        if len(lists) < 2:
            return None
        train, val = _by_class([pair for file in lists for pair in _named(file)])
    return _source(root, {name for _, name in train}, lambda: train, lambda: val)


def _named(file: Path) -> Labelled:
    return [(f"images/{row['filename']}", row["label"]) for row in _table(file, ("filename", "label"))]


def _by_class(pairs: Labelled) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Each class cut in two, by file name."""
    files = defaultdict(list)
    for file, name in sorted(pairs):
        files[name].append((file, name))
    scored = {name: max(1, round(len(those) * _SCORED)) for name, those in files.items()}
    train = [pair for name, those in files.items() for pair in those[: -scored[name]]]
    return train, [pair for name, those in files.items() for pair in those[-scored[name] :]]


def _cifar(root: Path) -> Source | None:
    """The Python version of CIFAR-10 and CIFAR-100, which torchvision reads after checking its hashes."""
    from tleg_cli.data.timm_sources import timm_source

    found = [name for folder, name in _CIFAR.items() if (root / folder).is_dir()]
    return timm_source(f"torch/{found[0]}:{root}") if found else None
