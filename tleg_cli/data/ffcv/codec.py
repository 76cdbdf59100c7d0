"""Images to the bytes of a .beton file and back, by FFCV's own functions. Call after `guard.import_ffcv`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tleg_cli.data.ffcv.file import LARGEST_IMAGE, LONGEST_SIDE, Beton, Stored
from tleg_cli.errors import DataError


@dataclass(frozen=True)
class WriteOptions:
    """How images are stored.

    write_mode: "jpg" or "raw". max_resolution: pixels of the longer side; larger images are shrunk (area average).
    quality: of JPEG. exif_orientation: whether photographs were turned upright, as their EXIF data say.
    """

    write_mode: str = "jpg"
    max_resolution: int | None = None
    quality: int = 90
    exif_orientation: bool = True


def encode(pixels: np.ndarray, options: WriteOptions) -> Stored:
    """pixels: uint8 (height, width, 3). Raises DataError for an image that the format can't hold."""
    from ffcv.fields.rgb_image import encode_jpeg

    small = shrink(pixels, options.max_resolution)
    height, width, _ = small.shape
    size = f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
    if max(height, width) > LONGEST_SIDE:
        raise DataError(f"has {size}, and {LONGEST_SIDE} per side is the limit; shrink it with --max-resolution")
    jpeg = options.write_mode == "jpg"
    data = encode_jpeg(small, options.quality) if jpeg else np.ascontiguousarray(small).reshape(-1)
    if data.nbytes > LARGEST_IMAGE:
        raise DataError(f"has {size} and takes more than 1 GiB; shrink it with --max-resolution")
    return Stored(data.data, height, width, jpeg)


def shrink(pixels: np.ndarray, max_resolution: int | None) -> np.ndarray:
    """Raises DataError for an image so narrow that nothing would be left of it."""
    from ffcv.fields.rgb_image import resizer

    height, width, _ = pixels.shape
    ratio = max_resolution / max(height, width) if max_resolution else 1.0
    if ratio * min(height, width) < 1:
        raise DataError(f"has {width} x {height} pixels, and would vanish with --max-resolution {max_resolution}")
    return resizer(pixels, max_resolution)


def decode(beton: Beton, file: Any, place: int) -> np.ndarray | None:
    """uint8 (height, width, 3), or None for a damaged JPEG. file: the bytes of the .beton file, uint8.

    FFCV's C function releases Python's lock, so that threads can call this at the same time.
    """
    from ffcv.libffcv import imdecode

    height, width = int(beton.heights[place]), int(beton.widths[place])
    data = np.array(stored_bytes(beton, file, place))
    if not beton.jpeg[place]:
        return data.reshape(height, width, 3)
    pixels = np.empty((height, width, 3), np.uint8)
    failed = imdecode(data, pixels, height, width, height, width, 0, 0, 1, 1, False, False)
    return None if failed else pixels


def stored_bytes(beton: Beton, file: Any, place: int) -> Any:
    """The encoded image, uint8 (bytes,)."""
    start = int(beton.pointers[place])
    return file[start : start + int(beton.sizes[place])]
