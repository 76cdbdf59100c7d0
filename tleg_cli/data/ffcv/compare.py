"""Compares a .beton file with the source it was written from, read a second time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from tleg_cli.data.ffcv.codec import WriteOptions, decode, encode, shrink, stored_bytes
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.ffcv.fingerprint import spread
from tleg_cli.data.ffcv.processes import Work, in_order
from tleg_cli.data.ffcv.verify import Progress
from tleg_cli.data.source import name_of
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Split

_ALL_UP_TO = 100_000  # images: reading them again takes minutes. Of more, _SOME are compared; all are decoded
_SOME = 10_000
_JPEG_TOLERANCE = 24.0  # largest mean difference of an image after JPEG, in levels of 255; a black one exceeds it


def compare(
    path: Path, images: Split, indices: np.ndarray, options: WriteOptions, processes: int, progress: Progress
) -> int:
    """Decodes all of the file and compares its images with their source, byte by byte. indices: (images,), which is at each place.

    Returns how many were compared. Raises DataError for the first image that is damaged or differs from its source.
    """
    count = len(indices)
    chosen = spread(count, count if count <= _ALL_UP_TO else _SOME)
    check = _checker(path, images, indices, options, frozenset(chosen.tolist()))
    with closing(in_order(check, count, processes)) as results:
        for done, result in enumerate(results, start=1):
            if isinstance(result, DataError):
                raise result
            progress("checking", done, count)
    return len(chosen)


def _checker(path: Path, images: Split, indices: np.ndarray, options: WriteOptions, chosen: frozenset[int]) -> Work:
    """What a process does with one place of the file. Runs in the child."""
    beton = read_beton(path)
    if len(beton.labels) != len(indices):
        raise DataError(f"the .beton file has {len(beton.labels)} images in place of {len(indices)}")
    file = np.memmap(path, np.uint8, mode="r")

    def check(place: int) -> bytes:
        pixels = decode(beton, file, place)
        if pixels is None:
            raise DataError(f"image {place} of the .beton file is damaged")
        if place in chosen:
            index = int(indices[place])
            image, label = images[index]
            wrong = _difference(pixels, np.asarray(image), stored_bytes(beton, file, place), options)
            if label != beton.labels[place]:
                wrong = f"label {beton.labels[place]} in place of {label}"
            if wrong:
                raise DataError(f"{name_of(images, index)} is in the .beton file with {wrong}")
        return b""

    return check


def _difference(pixels: np.ndarray, source: np.ndarray, stored: np.ndarray, options: WriteOptions) -> str | None:
    """What distinguishes an image from its source, if anything. The bytes find any exchange, the pixels a faulty encoder."""
    wanted = shrink(source, options.max_resolution)
    if pixels.shape != wanted.shape:
        return f"shape {pixels.shape} in place of {wanted.shape}"
    if not np.array_equal(stored, np.frombuffer(encode(source, options).data, np.uint8)):
        return "other pixels"
    difference = np.abs(pixels.astype(np.int16) - wanted).mean()
    if difference > (0 if options.write_mode == "raw" else _JPEG_TOLERANCE):
        return f"pixels that differ by {difference:.1f} levels"
    return None
