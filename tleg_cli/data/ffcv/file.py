"""The layout of a .beton file: tables that are checked before FFCV or compiled code relies on them, and a writer. Needs no FFCV.

Layout (FFCV 1.0.2): header, a descriptor for each field, one row of metadata for each image, images, allocation table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tleg_cli.errors import DataError
from tleg_cli.files import open_regular

_VERSION = 2
_IMAGE, _INT = 2, 1  # the numbers of FFCV's field types
_JPEG, _RAW = 0, 1
_HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page_size", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
_FIELD = np.dtype([("type", "u1"), ("name", "S16"), ("arguments", "u1", 1024)], align=True)
_IMAGE_ROW = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
_ROW = np.dtype([("image", _IMAGE_ROW), ("label", "<i8")], align=True)
_ALLOCATION = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("size", "<u8")])
_START = _HEADER.itemsize + 2 * _FIELD.itemsize

_SMALLEST_PAGE = 1 << 21  # bytes, as FFCV's own writer has it
LARGEST_IMAGE = 1 << 30  # bytes: of an image, and so of a page
LONGEST_SIDE = 65_500  # pixels: JPEG's limit
_IMAGES_IN_A_PAGE = 16  # at least, so that little is lost at its end


@dataclass(frozen=True)
class Beton:
    """Where everything is in a file. All arrays: (images,).

    pointers: bytes from the start of the file; sizes: bytes; heights, widths: pixels; jpeg: else raw RGB; labels: int64.
    """

    path: Path
    pointers: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    heights: NDArray[np.uint16]
    widths: NDArray[np.uint16]
    jpeg: NDArray[np.bool_]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Stored:
    """An image as it is in a file. jpeg: else raw RGB, height * width * 3 bytes."""

    data: bytes | memoryview
    height: int
    width: int
    jpeg: bool


def read_beton(path: Path) -> Beton:
    """The tables of an image file that `tleg prepare` wrote. Raises DataError for anything else, or a damaged one.

    Afterwards every pointer and size is known to be in the file, and every raw image to have as many bytes as its pixels need.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            samples, table = _header(path, size, np.fromfile(file, _HEADER, 1), np.fromfile(file, _FIELD, 2))
            rows = np.fromfile(file, _ROW, samples)
            file.seek(table)
            allocations = np.fromfile(file, _ALLOCATION, samples)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    return _checked(path, size, rows, allocations)


def _header(path: Path, size: int, header: NDArray[np.void], fields: NDArray[np.void]) -> tuple[int, int]:
    """Number of images and place of the allocation table, if they fit the file: nothing is allocated before."""
    if len(header) != 1 or len(fields) != 2:
        raise DataError(f"{path} is not a .beton file: it has only {size} bytes")
    kinds = header["version"][0], header["fields"][0], *fields["type"]
    if kinds != (_VERSION, 2, _IMAGE, _INT):
        raise DataError(f"{path} is not a .beton file of images and labels; `tleg prepare` writes such files")
    samples, table = int(header["samples"][0]), int(header["table"][0])
    if samples == 0 or table < _START + samples * _ROW.itemsize or table + samples * _ALLOCATION.itemsize != size:
        raise DataError(
            f"{path} is damaged: {size:,} bytes don't fit the {samples:,} images of its header; write it again"
        )
    return samples, table


def _checked(path: Path, size: int, rows: NDArray[np.void], allocations: NDArray[np.void]) -> Beton:
    image = rows["image"]
    order = np.argsort(allocations["pointer"])
    starts = allocations["pointer"][order]
    slot = np.minimum(np.searchsorted(starts, image["pointer"]), len(starts) - 1)
    sizes = allocations["size"][order][slot]
    pixels = image["height"].astype(np.uint64) * image["width"] * np.uint64(3)
    end = np.uint64(size)
    intact = starts[slot] == image["pointer"]
    intact &= (image["pointer"] <= end) & (sizes <= end - np.minimum(image["pointer"], end))
    intact &= (pixels > 0) & np.where(image["mode"] == _RAW, sizes == pixels, image["mode"] == _JPEG)
    intact &= rows["label"] >= 0
    if not intact.all():
        raise DataError(f"{path} is damaged: image {int(np.argmin(intact))} is not in the file; write it again")
    columns = (image["pointer"], sizes, image["height"], image["width"], image["mode"] == _JPEG, rows["label"])
    return Beton(path, *(np.ascontiguousarray(column) for column in columns))


def beton_bytes(images: int, content: int) -> int:
    """The size of a file with so many images, whose encoded pixels take `content` bytes."""
    return _START + images * (_ROW.itemsize + _ALLOCATION.itemsize) + content


class BetonWriter:
    """Writes a .beton file from front to back: the same bytes however many processes encode the images.

    FFCV's own writer gives each of its processes a page of up to 64 MB and writes complete ones, so that small sets take many
    times their size. Here too no image crosses a page, which readers with FFCV's `os_cache=False` rely on.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        """most: images that may be added; room for their metadata is left before the pixels."""
        self._file = file
        self._rows, self._allocations = np.zeros(most, _ROW), np.zeros(most, _ALLOCATION)
        self._images = 0
        self._page = _SMALLEST_PAGE
        self._end = _START + self._rows.nbytes

    def add(self, stored: Stored, label: int) -> None:
        """Appends an image of at most LARGEST_IMAGE bytes."""
        start = self._next_start(len(stored.data))
        self._file.seek(start)
        self._file.write(stored.data)
        mode = _JPEG if stored.jpeg else _RAW
        self._rows[self._images] = (mode, stored.width, stored.height, start), label
        self._allocations[self._images] = self._images, start, len(stored.data)
        self._images += 1
        self._end = start + len(stored.data)

    def _next_start(self, size: int) -> int:
        """Pages grow with the images: what doesn't cross a page doesn't cross one twice as large either."""
        while self._page < min(_IMAGES_IN_A_PAGE * size, LARGEST_IMAGE):
            self._page *= 2
        left = self._page - self._end % self._page
        return self._end if size <= left else self._end + left

    def finish(self) -> None:
        """Writes the tables."""
        header, fields = np.zeros(1, _HEADER), np.zeros(2, _FIELD)
        header[0] = _VERSION, 2, self._page, self._images, self._end
        fields["type"], fields["name"] = (_IMAGE, _INT), (b"image", b"label")
        self._file.seek(0)
        for table in (header, fields, self._rows[: self._images]):
            self._file.write(table.tobytes())
        self._file.seek(self._end)
        self._file.write(self._allocations[: self._images].tobytes())
