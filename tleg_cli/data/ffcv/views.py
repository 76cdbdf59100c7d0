"""How the images of a .beton file become squares: at random and compiled for training, timm's own crop for evaluation.

Import after `guard.import_ffcv`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tleg_cli.data.batches import INDEX_BITS, INDEX_MASK
from tleg_cli.data.crops import CropRule, centre_crop, flipped
from tleg_cli.data.ffcv.codec import decode
from tleg_cli.data.ffcv.file import Beton
from tleg_cli.errors import DataError

if TYPE_CHECKING:
    from tleg_cli.config import DataSection

# coded ids (batch,), the file's bytes, and the images to fill: uint8 (batch, size, size, 3). Raises DataError for a damaged image
Views = Callable[[Any, Any, Any], None]


def random_views(beton: Beton, rule: CropRule, threads: int) -> Views:
    """Random resized crops (area average) and flips, all in one compiled function; see kernel.py."""
    from numba import config

    from tleg_cli.data.ffcv.kernel import decode_batch

    columns = beton.pointers, beton.sizes, beton.heights, beton.widths, beton.jpeg
    largest = int((beton.heights.astype(np.int64) * beton.widths)[beton.jpeg].max(initial=0)) * 3
    # one decoded image for each thread; FFCV itself keeps one for each image of each batch in flight
    scratch = np.empty((config.NUMBA_NUM_THREADS, largest), dtype=np.uint8)
    numbers = rule.numbers()

    def views(codes: Any, file: Any, images: Any) -> None:
        failed = np.zeros(len(codes), dtype=np.int32)
        decode_batch(threads, codes, file, *columns, rule.seed, numbers, scratch, images, failed)
        if failed.any():
            raise _damaged(beton, int(codes[failed != 0][0] & INDEX_MASK))

    return views


def centre_views(beton: Beton, rule: CropRule, data: DataSection, threads: int) -> Views:
    """FFCV decodes, timm's transform crops and resizes: a score doesn't depend on which loader reads the images."""
    centre = centre_crop(data.image_size, data.crop_pct, data.interpolation)
    numbers = rule.numbers()
    pool = ThreadPoolExecutor(threads)  # ends with the loader; decoding and resizing release Python's lock

    def view(code: int, file: Any) -> np.ndarray:
        pixels = decode(beton, file, code & INDEX_MASK)
        if pixels is None:
            raise _damaged(beton, code & INDEX_MASK)
        square = np.asarray(centre(Image.fromarray(pixels)))
        return square[:, ::-1] if flipped(rule.seed, code >> INDEX_BITS, numbers) else square

    def views(codes: Any, file: Any, images: Any) -> None:
        def fill(places: Any) -> None:
            for place in places.tolist():
                images[place] = view(int(codes[place]), file)

        list(pool.map(fill, np.array_split(np.arange(len(codes)), threads)))

    return views


def _damaged(beton: Beton, sample: int) -> DataError:
    return DataError(
        f"{beton.path}: image {sample} is damaged; `tleg doctor {beton.path}` lists all, `tleg prepare --force` writes the file again"
    )
