"""One compiled function that decodes, crops at random, resizes and flips a batch. Import after `guard.import_ffcv`.

FFCV calls its C library through ctypes, which numba can't keep on the disk, so that every process compiles again. Here the same C
functions are bound by name, and the compiled code is kept: compiled once on a machine.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from ffcv.libffcv import lib
from numba import njit, prange, types
from numba.extending import register_jitable

from tleg_cli.data import crops
from tleg_cli.data.batches import INDEX_BITS, INDEX_MASK

_one_at_a_time = threading.Lock()  # numba's fallback thread pool ends the process when two threads enter it


def _bind(name: str, signature: Any) -> Any:
    """The C function `name` of libffcv as something that compiled code can call."""
    address = ctypes.cast(getattr(lib, name), ctypes.c_void_p).value
    llvm.add_symbol(f"tleg_ffcv_{name}", address)
    return types.ExternalFunction(f"tleg_ffcv_{name}", signature)


# int imdecode(source, bytes, height, width, destination, crop height, crop width, x, y, scale, divisor, crop?, flip?): 0 if it succeeds
_imdecode = _bind(
    "imdecode",
    types.int32(
        types.uintp, types.uint64, types.uint32, types.uint32, types.uintp, *[types.uint32] * 6, *[types.boolean] * 2
    ),
)
# void resize(unused, source, rows, columns, first row, end row, first column, end column, destination, rows, columns): INTER_AREA
_resize = _bind("resize", types.void(*[types.int64] * 11))


def _compile(revision: int) -> Any:
    """revision: numba's key of the kept code holds this file's source and the values closed over, but not the source of crops.py."""
    for function in crops.COMPILED:
        register_jitable(function)
    random_box, flipped = crops.random_box, crops.flipped

    def decode(codes, file, pointers, sizes, heights, widths, jpeg, seed, numbers, scratch, images, failed):  # type: ignore[no-untyped-def]
        _ = revision
        start = file.ctypes.data
        side_y, side_x = images.shape[1], images.shape[2]
        for place in prange(len(codes)):
            sample = codes[place] & INDEX_MASK
            draw = codes[place] >> INDEX_BITS
            height, width = np.int64(heights[sample]), np.int64(widths[sample])
            source = start + np.uintp(pointers[sample])
            if jpeg[sample]:
                pixels = scratch[numba.get_thread_id()].ctypes.data
                failed[place] = _imdecode(
                    source, sizes[sample], height, width, pixels, height, width, 0, 0, 1, 1, False, False
                )
                source = np.uintp(pixels)
            top, left, rows, columns = random_box(height, width, seed, draw, numbers)
            target = images[place]
            _resize(0, source, height, width, top, top + rows, left, left + columns, target.ctypes.data, side_y, side_x)
            if flipped(seed, draw, numbers):
                for x in range(side_x // 2):
                    for y in range(side_y):
                        for channel in range(3):
                            other = target[y, side_x - 1 - x, channel]
                            target[y, side_x - 1 - x, channel] = target[y, x, channel]
                            target[y, x, channel] = other

    options = {"parallel": True, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(decode)
    except RuntimeError:  # neither this folder nor the home folder is writable
        return njit(**options)(decode)


_decode = _compile(zlib.crc32(Path(crops.__file__).read_bytes()))


def decode_batch(threads: int, *arguments: Any) -> None:
    """Fills `images` (batch, size, size, 3) from coded ids with this many threads; `failed` is not 0 for damaged JPEGs."""
    with _one_at_a_time:
        numba.set_num_threads(threads)
        _decode(*arguments)
