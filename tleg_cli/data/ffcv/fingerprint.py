"""What a split was made of, as two hashes: `tleg prepare` notices with them that its source has changed.

listing: names, sizes and labels of the image files, or their content if they are in memory. times: when the files were last
changed. A copy of a data set has the same listing and other times, and so has one whose images were exchanged for others of the
same size: which of the two it is, only comparing the images can tell.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.data.ffcv.processes import in_order
from tleg_cli.data.source import ArraySplit, FileSplit
from tleg_cli.data.synthetic import SyntheticSplit
from tleg_cli.data.tars import TarSplit
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Split

_READ = 20_000  # images, spread over a split of a third party, whose files and labels are unknown


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of a split's listing, and of the times of its files."""

    listing: str
    times: str


def fingerprint(images: Split, processes: int) -> Fingerprint:
    """Of a split. Reads no image files, unless neither files nor arrays are known. Raises DataError for files that are gone."""
    if isinstance(images, FileSplit):
        listing = images.listing
        sizes, times = _sizes_and_times(listing.path(index) for index in range(len(images)))
        return _hashes((listing.files, listing.labels, sizes), times)
    if isinstance(images, TarSplit):
        _, times = _sizes_and_times([images.tar])
        return _hashes((images.paths, images.offsets, images.sizes, images.labels), times)
    if isinstance(images, ArraySplit):
        return _hashes((images.images, images.labels), [])
    if isinstance(images, SyntheticSplit):
        return _hashes((repr(images),), [])
    return _hashes((str(len(images)), *_read(images, processes)), [])


def _sizes_and_times(files: Iterable[Path]) -> tuple[np.ndarray, list[int]]:
    """Bytes, and nanoseconds since 1970."""
    sizes, times = [], []
    for file in files:
        try:
            found = os.stat(file)
        except OSError:  # a bad image: it is reported when it is read
            sizes.append(-1)
            times.append(-1)
        else:
            sizes.append(found.st_size)
            times.append(found.st_mtime_ns)
    return np.array(sizes), times


def _read(images: Split, processes: int) -> Iterable[Any]:
    """The pixels and labels of some images."""
    chosen = spread(len(images), _READ)

    def pixels_and_label(number: int) -> bytes:
        image, label = images[int(chosen[number])]
        return hashlib.sha256(np.asarray(image).tobytes() + str((image.size, int(label))).encode()).digest()

    return (
        str(found) if isinstance(found, DataError) else found
        for found in in_order(pixels_and_label, len(chosen), processes)
    )


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` numbers, evenly; if not all, then from the middle of each part."""
    if count <= most:
        return np.arange(count)
    return ((np.arange(most) + 0.5) * count / most).astype(int)


def _hashes(content: Iterable[Any], times: list[int]) -> Fingerprint:
    listing = hashlib.sha256()
    for part in content:
        if isinstance(part, np.ndarray):
            listing.update(f"{part.dtype} {part.shape}".encode())
            listing.update(np.ascontiguousarray(part).data.cast("B"))
        else:
            listing.update(part.encode() if isinstance(part, str) else part)
            listing.update(b"\0")
    return Fingerprint(listing.hexdigest(), hashlib.sha256(str(times).encode()).hexdigest())
