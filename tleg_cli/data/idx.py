"""Folders in the format of MNIST (LeCun et al. 1998): `train-images-idx3-ubyte` and three more files, each possibly with .gz.

Fashion-MNIST, KMNIST and others have it too; Debian's dataset-fashion-mnist puts it into /usr/share/datasets/fashion-mnist.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from tleg_cli.data.source import ArraySplit
from tleg_cli.errors import DataError
from tleg_cli.files import open_regular
from tleg_cli.hookspecs import Source, Split

_PARTS = {"train": "train", "val": "t10k"}
_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_MOST = 2_000_000_000  # bytes of one file, unpacked: 2.5 million images of 28 x 28


def idx_source(root: Path) -> Source | None:
    """The source of such a folder; None if it has none of the files. Classes are named by their number, or as Fashion-MNIST's if
    the folder is called so. Raises DataError if a file is missing."""
    found = {(part, kind): _find(root, part, kind) for part in _PARTS.values() for kind in ("images", "labels")}
    if not any(found.values()):
        return None
    for (part, kind), path in found.items():
        if path is None:
            name = f"{part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
            raise DataError(f"{root} has files of MNIST's format, but not {name} or {name}.gz")
    labels = [_read(found[part, "labels"], 1) for part in _PARTS.values()]  # type: ignore[arg-type]
    number = 1 + max(int(each.max(initial=0)) for each in labels)
    named = "fashion" in root.resolve().name.lower() and number == len(_FASHION)
    classes = _FASHION if named else tuple(map(str, range(number)))
    train, val = (partial(_split, found[part, "images"], found[part, "labels"]) for part in _PARTS.values())  # type: ignore[arg-type]
    return Source(str(root), classes, train, val, in_memory=True)


def _find(root: Path, part: str, kind: str) -> Path | None:
    dimensions = 3 if kind == "images" else 1
    for separator in "-.":  # some copies are called train-images.idx3-ubyte
        for ending in ("", ".gz"):
            path = root / f"{part}-{kind}{separator}idx{dimensions}-ubyte{ending}"
            if path.exists():
                return path
    return None


def _split(images: Path, labels: Path) -> Split:
    pixels, targets = _read(images, 3), _read(labels, 1)
    if len(pixels) != len(targets):
        raise DataError(f"{images} has {len(pixels):,} images, but {labels.name} has {len(targets):,} labels")
    return ArraySplit(np.repeat(pixels[..., None], 3, axis=3), targets.astype(np.int64))


def _read(path: Path, dimensions: int) -> np.ndarray:
    """A file's array of bytes. Raises DataError for another type, other dimensions, and a file that is cut off or too long."""
    try:
        with open_regular(path) as raw, _unpacked(raw, path) as file:
            header = file.read(4 + 4 * dimensions)
            if header[:4] != bytes((0, 0, 8, dimensions)) or len(header) < 4 + 4 * dimensions:
                raise DataError(
                    f"{path} is not an IDX file of bytes with {dimensions} dimension{'s' * (dimensions > 1)}"
                )
            shape = struct.unpack(f">{dimensions}I", header[4:])
            size = math.prod(shape)
            if size > _MOST:
                raise DataError(f"{path} claims to hold {size:,} bytes; at most {_MOST:,} are read")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}") from None
    if len(content) != size:
        what = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{path} should hold {size:,} bytes after its header, but holds {what}; download it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _unpacked(raw: IO[bytes], path: Path) -> IO[bytes]:
    return gzip.open(raw) if path.suffix == ".gz" else raw  # type: ignore[return-value]
