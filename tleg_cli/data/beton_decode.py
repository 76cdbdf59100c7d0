"""One image of a .beton file, by FFCV's decoder: what the checks and the evaluation read."""

from __future__ import annotations

from typing import Any

import numpy as np

from tleg_cli.data.beton_file import Beton


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
