"""Decodes every image of a .beton file: FFCV turns a damaged JPEG into a black image and says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.data.ffcv.file import Beton, decode_image, read_beton
from tleg_cli.data.ffcv.guard import import_ffcv
from tleg_cli.data.ffcv.sidecar import BETON, read_sidecar
from tleg_cli.data.source import name_of
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Split

_JPEG_TOLERANCE = (
    24.0  # largest mean difference of an image after JPEG, in levels of 255; a black or shifted one is beyond
)
_COMPARED = 500  # images that are compared with the source, spread over the file
_AT_ONCE = 256  # decoded images that wait to be looked at

Progress = Callable[[str, int, int], None]  # (what, done, of)


@dataclass(frozen=True)
class BetonReport:
    """What `tleg doctor FILE.beton` found: a file that is whole. smallest, largest: width x height in pixels."""

    file: str
    images: int
    classes: int
    smallest: str
    largest: str
    bytes: int


def decoded(path: Path, progress: Progress, threads: int = 2) -> Iterator[tuple[int, np.ndarray, int]]:
    """(place, uint8 (height, width, 3), label) of every image in the file. Raises DataError for one that doesn't decode."""
    import_ffcv()
    beton = read_beton(path)
    file = np.memmap(path, np.uint8, mode="r")
    decode = partial(_decode, beton, file)
    images = len(beton.labels)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, images, _AT_ONCE):
            places = range(start, min(images, start + _AT_ONCE))
            yield from zip(places, pool.map(decode, places), beton.labels[start : places.stop].tolist(), strict=True)
            progress("checking", places.stop, images)


def _decode(beton: Beton, file: Any, place: int) -> np.ndarray:
    pixels = decode_image(beton, file, place)
    if pixels is None:
        raise DataError(f"image {place} of {beton.path} doesn't decode: it is damaged; write the file again")
    return pixels


def compare(
    path: Path,
    images: Split,
    indices: np.ndarray,
    max_resolution: int | None,
    *,
    lossless: bool,
    progress: Progress,
    threads: int,
) -> None:
    """Decodes the whole file and compares 500 images with their source. indices: (images,), which image stands where.

    Raises DataError for the first that doesn't decode, or came back with another label, shape or content.
    """
    looked_at = set(np.linspace(0, len(indices) - 1, min(len(indices), _COMPARED)).astype(int).tolist())
    for place, pixels, label in decoded(path, progress, threads):
        if place not in looked_at:
            continue
        index = int(indices[place])
        image, expected = images[index]
        wanted = _shrunk(np.asarray(image), max_resolution)
        if label != expected or pixels.shape != wanted.shape:
            found = f"label {label} and shape {pixels.shape}, not {expected} and {wanted.shape}"
            raise DataError(f"{name_of(images, index)} came back with {found}")
        difference = np.abs(pixels.astype(np.int16) - wanted).mean()
        if difference > (0 if lossless else _JPEG_TOLERANCE):
            raise DataError(f"{name_of(images, index)} came back {difference:.1f} levels away from what was written")


def _shrunk(pixels: np.ndarray, max_resolution: int | None) -> np.ndarray:
    from ffcv.fields.rgb_image import resizer

    return resizer(pixels, max_resolution)


def verify_beton(path: Path, progress: Progress = lambda what, done, of: None) -> BetonReport:
    """Decodes every image of a data file. Raises DataError that lists the damaged ones, or says what else is wrong."""
    if path.suffix != BETON:
        raise DataError(f"{path} is no {BETON} file")
    sidecar = read_sidecar(path)
    beton = read_beton(path)
    if len(beton.labels) != sidecar.samples:
        raise DataError(f"{path} holds {len(beton.labels)} images, its sidecar says {sidecar.samples}")
    if (beton.labels >= len(sidecar.classes)).any():
        place = int(np.argmax(beton.labels >= len(sidecar.classes)))
        raise DataError(
            f"image {place} of {path} has label {beton.labels[place]}, but there are {len(sidecar.classes)} classes"
        )
    _refuse_damaged(path, _damaged(beton, progress))
    area = beton.heights.astype(np.int64) * beton.widths
    smallest, largest = (f"{beton.widths[at]}x{beton.heights[at]}" for at in (int(area.argmin()), int(area.argmax())))
    return BetonReport(str(path), sidecar.samples, len(sidecar.classes), smallest, largest, sidecar.bytes)


def _damaged(beton: Beton, progress: Progress) -> list[int]:
    import_ffcv()
    file = np.memmap(beton.path, np.uint8, mode="r")
    found = []
    images = len(beton.labels)
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, images, _AT_ONCE):
            places = range(start, min(images, start + _AT_ONCE))
            whole = pool.map(partial(_is_whole, beton, file), places)
            found += [place for place, fine in zip(places, whole, strict=True) if not fine]
            progress("checking", places.stop, images)
    return found


def _is_whole(beton: Beton, file: Any, place: int) -> bool:
    return decode_image(beton, file, place) is not None


def _refuse_damaged(path: Path, places: Sequence[int]) -> None:
    if places:
        shown = ", ".join(map(str, places[:20])) + (", ..." if len(places) > 20 else "")
        raise DataError(f"{path}: {len(places)} images don't decode: {shown}; write the file again with `tleg prepare`")
