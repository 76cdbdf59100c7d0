"""The tables of a .beton file, read and checked before FFCV or compiled code believes them. Needs no FFCV.

Layout (FFCV 1.0.2): header, a descriptor for each field, one row of metadata for each sample, images, allocation table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tleg_cli.errors import DataError

_VERSION = 2
_IMAGE, _INT = 2, 1  # the numbers of FFCV's field types
_JPEG, _RAW = 0, 1
_HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page_size", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
_FIELD = np.dtype([("type", "u1"), ("name", "u1", 16), ("arguments", "u1", 1024)], align=True)
_IMAGE_ROW = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
_ROW = np.dtype([("image", _IMAGE_ROW), ("label", "<i8")], align=True)
_ALLOCATION = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("size", "<u8")])
_START = _HEADER.itemsize + 2 * _FIELD.itemsize


@dataclass(frozen=True)
class Beton:
    """Where everything stands in a file. All arrays: (images,).

    pointers: bytes from the start of the file; sizes: bytes; heights, widths: pixels; jpeg: else raw RGB; labels: int64.
    """

    path: Path
    pointers: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    heights: NDArray[np.uint16]
    widths: NDArray[np.uint16]
    jpeg: NDArray[np.bool_]
    labels: NDArray[np.int64]


def read_beton(path: Path) -> Beton:
    """The tables of an image file that `tleg prepare` wrote. Raises DataError for anything else, or a damaged one.

    Afterwards every pointer and size lies in the file and every raw image has as many bytes as pixels ask for.
    """
    try:
        with path.open("rb") as file:
            samples, table = _header(path, np.fromfile(file, _HEADER, 1), np.fromfile(file, _FIELD, 2))
            rows = np.fromfile(file, _ROW, samples)
            file.seek(table)
            allocations = np.fromfile(file, _ALLOCATION, samples)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    return _checked(path, rows, allocations)


def _header(path: Path, header: NDArray[np.void], fields: NDArray[np.void]) -> tuple[int, int]:
    """Number of images and place of the allocation table, if the sizes fit the file: nothing is allocated before."""
    bytes_ = os.path.getsize(path)
    if len(header) != 1 or len(fields) != 2:
        raise DataError(f"{path} is no .beton file: it has only {bytes_} bytes")
    kinds = header["version"][0], header["fields"][0], *fields["type"]
    if kinds != (_VERSION, 2, _IMAGE, _INT):
        raise DataError(f"{path} is no .beton file of images and labels; `tleg prepare` writes such files")
    samples, table = int(header["samples"][0]), int(header["table"][0])
    if samples == 0 or table < _START + samples * _ROW.itemsize or table + samples * _ALLOCATION.itemsize != bytes_:
        raise DataError(
            f"{path} is damaged: {bytes_:,} bytes don't go with the {samples:,} images of its header; write it again"
        )
    return samples, table


def _checked(path: Path, rows: NDArray[np.void], allocations: NDArray[np.void]) -> Beton:
    image = rows["image"]
    order = np.argsort(allocations["pointer"])
    starts = allocations["pointer"][order]
    slot = np.minimum(np.searchsorted(starts, image["pointer"]), len(starts) - 1)
    sizes = allocations["size"][order][slot]
    pixels = image["height"].astype(np.uint64) * image["width"] * np.uint64(3)
    end = np.uint64(os.path.getsize(path))
    whole = (
        (starts[slot] == image["pointer"])
        & (image["pointer"] <= end)
        & (sizes <= end - np.minimum(image["pointer"], end))
    )
    whole &= (pixels > 0) & np.where(image["mode"] == _RAW, sizes == pixels, image["mode"] == _JPEG)
    whole &= rows["label"] >= 0
    if not whole.all():
        raise DataError(f"{path} is damaged: image {int(np.argmin(whole))} lies outside the file; write it again")
    columns = (image["pointer"], sizes, image["height"], image["width"], image["mode"] == _JPEG, rows["label"])
    return Beton(path, *(np.ascontiguousarray(column) for column in columns))


def decode_image(beton: Beton, file: Any, place: int) -> np.ndarray | None:
    """uint8 (height, width, 3), or None for a damaged JPEG. file: its bytes, uint8. Call after `ffcv_guard.import_ffcv`.

    FFCV's C function gives up Python's lock: threads that call this run side by side.
    """
    from ffcv.libffcv import imdecode

    start, size = int(beton.pointers[place]), int(beton.sizes[place])
    height, width = int(beton.heights[place]), int(beton.widths[place])
    data = np.array(file[start : start + size])
    if not beton.jpeg[place]:
        return data.reshape(height, width, 3)
    pixels = np.empty((height, width, 3), np.uint8)
    failed = imdecode(data, pixels, height, width, height, width, 0, 0, 1, 1, False, False)
    return None if failed else pixels
