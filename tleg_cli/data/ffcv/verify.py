"""Checks a .beton file without its source: FFCV itself turns a damaged JPEG into a black image and reports nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.data.ffcv.codec import decode
from tleg_cli.data.ffcv.file import Beton, read_beton
from tleg_cli.data.ffcv.guard import import_ffcv
from tleg_cli.data.ffcv.sidecar import BETON, Sidecar, read_sidecar
from tleg_cli.errors import DataError

_AT_ONCE = 256  # images between two reports of progress
_THREADS = 2

Progress = Callable[[str, int, int], None]  # (what, done, of)


@dataclass(frozen=True)
class BetonReport:
    """What `tleg doctor FILE.beton` found in an intact file. smallest, largest: width x height in pixels."""

    file: str
    images: int
    classes: int
    smallest: str
    largest: str
    bytes: int


def verify_beton(path: Path, progress: Progress = lambda what, done, of: None) -> BetonReport:
    """Decodes every image of a data file. Raises DataError that lists the damaged ones, or states what else is wrong."""
    if path.suffix != BETON:
        raise DataError(f"{path} is not a {BETON} file")
    sidecar = read_sidecar(path)
    beton = read_beton(path)
    check_against_sidecar(beton, sidecar)
    damaged = _damaged(beton, progress)
    if damaged:
        shown = ", ".join(map(str, damaged[:20])) + (", ..." if len(damaged) > 20 else "")
        raise DataError(
            f"{path}: {len(damaged)} images don't decode: {shown}; write the file again with `tleg prepare --force`"
        )
    area = beton.heights.astype(np.int64) * beton.widths
    smallest, largest = (f"{beton.widths[at]}x{beton.heights[at]}" for at in (int(area.argmin()), int(area.argmax())))
    return BetonReport(str(path), sidecar.samples, len(sidecar.classes), smallest, largest, sidecar.bytes)


def check_against_sidecar(beton: Beton, sidecar: Sidecar) -> None:
    """Raises DataError if a file holds other images or labels than its sidecar states."""
    images, classes = len(beton.labels), len(sidecar.classes)
    if images != sidecar.samples:
        raise DataError(
            f"{beton.path} holds {images} images, its sidecar says {sidecar.samples}; "
            "write both again with `tleg prepare --force`"
        )
    place = int(np.argmax(beton.labels))
    if beton.labels[place] >= classes:
        raise DataError(
            f"image {place} of {beton.path} has label {beton.labels[place]}, but its sidecar has {classes} classes; "
            "write both again with `tleg prepare --force`"
        )


def _damaged(beton: Beton, progress: Progress) -> list[int]:
    import_ffcv()
    file = np.memmap(beton.path, np.uint8, mode="r")
    found = []
    images = len(beton.labels)
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, images, _AT_ONCE):
            places = range(start, min(images, start + _AT_ONCE))
            intact = pool.map(partial(_is_intact, beton, file), places)
            found += [place for place, fine in zip(places, intact, strict=True) if not fine]
            progress("checking", places.stop, images)
    return found


def _is_intact(beton: Beton, file: Any, place: int) -> bool:
    return decode(beton, file, place) is not None
