"""FFCV operations that decode, crop and flip by code (`draw << 32 | sample`): every random number is a function of it.

FFCV's own random operations use numba's generators, which no seed reaches. Compiled once in a process, for all loaders.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numba
import numpy as np
from ffcv.libffcv import imdecode, memcpy, resize_crop
from ffcv.pipeline.allocation_query import AllocationQuery
from ffcv.pipeline.operation import Operation
from ffcv.pipeline.state import State

from tleg_cli.data import crops
from tleg_cli.data.loader import Crop
from tleg_cli.data.order import SAMPLE_BITS, SAMPLE_MASK

_JPEG = 0  # the value of an image's `mode` in the file; 1 is raw pixels
_uint8 = np.dtype("<u1")


def crop_numbers(crop: Crop) -> np.ndarray:
    """A Crop as eight float64: random?, seed, scale (2), log ratio (2), flip, side of the evaluation crop / shorter side."""
    scale = crop.scale or (1.0, 1.0)
    centre = crop.size / math.floor(crop.size / crop.crop_pct)
    logs = math.log(crop.ratio[0]), math.log(crop.ratio[1])
    return np.array([crop.scale is not None, crop.seed, *scale, *logs, crop.flip, centre], dtype=np.float64)


class DecodeImages(Operation):
    """codes -> uint8 (batch, size, size, 3). Memory: images, decoded JPEGs, a status for each (0 is good), crop numbers."""

    def __init__(self, crop: Crop):
        super().__init__()
        self.crop = crop

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, Any]:
        shape = (self.crop.size, self.crop.size, 3)
        largest = int((self.metadata["width"].astype(np.int64) * self.metadata["height"]).max()) * 3
        queries = (
            AllocationQuery(shape, _uint8),
            AllocationQuery((largest,), _uint8),
            AllocationQuery((1,), np.dtype("<i4")),
            AllocationQuery((8,), np.dtype("<f8")),
        )
        return replace(previous_state, jit_mode=True, shape=shape, dtype=_uint8), queries

    def generate_code(self) -> Callable[..., Any]:
        from ffcv.pipeline.compiler import Compiler

        decode_batch = _decoder(Compiler.num_threads > 1)

        def decode(codes: Any, memory: Any, metadata: Any, storage: Any) -> Any:
            return decode_batch(codes, memory, metadata, storage)

        return decode


class DecodeLabels(Operation):
    """codes -> int64 (batch, 1)."""

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, Any]:
        label = np.dtype("<i8")
        return replace(previous_state, jit_mode=True, shape=(1,), dtype=label), AllocationQuery((1,), label)

    def generate_code(self) -> Callable[..., Any]:
        mask = SAMPLE_MASK

        def decode(codes: Any, destination: Any, metadata: Any, storage: Any) -> Any:
            for index in range(len(codes)):
                destination[index] = metadata[codes[index] & mask]
            return destination[: len(codes)]

        return decode


@functools.cache
def _decoder(parallel: bool) -> Callable[..., Any]:
    bits, mask, jpeg = SAMPLE_BITS, SAMPLE_MASK, _JPEG
    decode_jpeg, copy, resize = _compiled(imdecode), _compiled(memcpy), _compiled(resize_crop)
    random_crop, flipped, center_crop = _crop_functions()
    every = numba.prange if parallel else range

    def decode(codes: Any, memory: Any, metadata: Any, storage: Any) -> Any:
        images, decoded, status, numbers = memory
        file, starts, sizes = storage
        for index in every(len(codes)):
            code = np.int64(codes[index])
            field = metadata[code & mask]
            start = field["data_ptr"]
            data = file[start : start + sizes[np.searchsorted(starts, start)]]
            height, width = np.int64(field["height"]), np.int64(field["width"])
            source = decoded[index][: height * width * 3].reshape(height, width, 3)
            status[index, 0] = 0
            if field["mode"] == jpeg:
                status[index, 0] = decode_jpeg(data, source, height, width, height, width, 0, 0, 1, 1, False, False)
            else:
                copy(data, source)
            n = numbers[index]
            seed = np.int64(n[1])
            if n[0] == 1.0:
                top, left, h, w = random_crop(height, width, seed, code >> bits, n[2], n[3], n[4], n[5])
            else:
                top, left, h, w = center_crop(height, width, n[7])
            resize(source, top, top + h, left, left + w, images[index])
            if n[6] > 0.0 and flipped(seed, code >> bits, n[6]):
                images[index] = images[index][:, ::-1].copy()
        return images[: len(codes)]

    return numba.njit(parallel=parallel, nogil=True, error_model="numpy")(decode)


@functools.cache
def _crop_functions() -> tuple[Callable[..., Any], ...]:
    """crops.py, compiled: the very functions that the image loader calls."""
    uniform = _plain(crops.uniform)
    scope = {"math": math, "_MASK": crops._MASK, "uniform": uniform}
    return tuple(_plain(_with_globals(f, scope)) for f in (crops.random_crop, crops.flipped, crops.center_crop))


def _with_globals(function: Any, scope: dict[str, Any]) -> Any:
    """The same code with compiled callees: numba can't call a plain Python function."""
    from types import FunctionType

    return FunctionType(function.__code__, {**function.__globals__, **scope}, function.__name__)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return numba.njit(nogil=True, error_model="numpy")(function)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return _plain(function)
