"""Augmentation on a CPU through kernel.py: the same draws and results as the rest of this package, several times as fast.

The rest is made for a GPU, which computes everything for all samples and masks. Here each sample goes through its own operations while
it is in the processor's cache. Needs numba, which FFCV installs; without it, the rest of the package is used. No result depends on the
number of threads.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from tleg_cli.augment import constants
from tleg_cli.augment.drawn_operations import DrawnOperations
from tleg_cli.augment.geometry import pixel_matrices
from tleg_cli.augment.mixup import Mixing, draw_share

SMALLEST = 64 * 64  # pixels of an image; below, it isn't worth the compilation


def usable(images: Tensor) -> bool:
    """Whether this batch is augmented here: large images on a CPU, and numba can be imported."""
    return images.device.type == "cpu" and images.shape[2] * images.shape[3] >= SMALLEST and _kernel() is not None


@functools.cache
def _kernel() -> Any:
    try:
        return importlib.import_module("tleg_cli.augment.cpu.kernel")
    except (ImportError, OSError):  # not installed, or built for another numpy or libc
        return None


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="tleg-augment")


def _share_out(work: Callable[[int, int], None], samples: int) -> None:
    """work(start, stop) for parts of 0..samples, in as many threads as torch has."""
    threads = torch.get_num_threads()
    if threads == 1 or samples < 2:
        work(0, samples)
        return
    size = -(-samples // (4 * threads))  # small parts, since operations differ in what they take
    starts = range(0, samples, size)
    list(_threads(threads).map(work, starts, [min(start + size, samples) for start in starts]))


def _empty(images: Tensor, dtype: type) -> tuple[Any, Tensor]:
    """New memory for a batch (batch, channels, height, width) with the channels innermost: as an array, and as that batch.

    numpy's, since it asks for huge pages; in torch's, normalisation takes three times as long, most of it to map small ones.
    """
    batch, channels, height, width = images.shape
    memory: Any = np.empty((batch, height, width, channels), dtype)
    return memory, torch.from_numpy(memory).permute(0, 3, 1, 2)


def _channels_last(images: Tensor) -> Any:
    """As an array (batch, height, width, channels): the same memory for batches of the loaders, a copy for others."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def recolour(images: Tensor, drawn_per_layer: Sequence[DrawnOperations], fill: tuple[float, ...]) -> Tensor:
    """All layers of augmentation, one after the other.

    images: (batch, 3, height, width) uint8; so is the result. fill: three levels for what was outside the image.
    """
    if not drawn_per_layer:
        return images
    batch, _, height, width = images.shape
    operations = np.stack([_numbers(drawn) for drawn in drawn_per_layer])
    arguments = torch.stack([drawn.argument for drawn in drawn_per_layer]).numpy()
    matrices = torch.stack([_matrices(drawn, height, width) for drawn in drawn_per_layer]).numpy()
    levels = np.array(fill, np.uint8)
    memory, result = _empty(images, np.uint8)
    rows = batch, height, 3 * width
    source, target = _channels_last(images).reshape(rows), memory.reshape(rows)

    def work(start: int, stop: int) -> None:
        spare, scratch = np.empty((2, *rows[1:]), np.uint8), _Scratch(*rows[1:])
        for sample in range(start, stop):
            image = source[sample]
            layers = np.flatnonzero(operations[:, sample] >= 0).tolist()
            for number, layer in enumerate(layers, start=1):
                into = target[sample] if number == len(layers) else spare[number % 2]
                operation = operations[layer, sample]
                if operation < _kernel().ROTATE:
                    _kernel().recolour(operation, arguments[layer, sample], image, into, *scratch.colour)
                else:
                    _kernel().warp(operation, matrices[layer, sample], image, into, levels, *scratch.geometry)
                image = into
            if not layers:
                np.copyto(target[sample], image)

    _share_out(work, batch)
    return result


class _Scratch:
    """What the kernels compute in, for one thread. height, values = 3 * width: of an image."""

    def __init__(self, height: int, values: int) -> None:
        self.colour = np.empty((3, 256), np.uint8), np.empty((3, 256), np.int64), np.empty((2, values), np.int32)
        self.geometry = np.empty((height + 3, values), np.float32), np.empty((8, values), np.float32)


def _numbers(drawn: DrawnOperations) -> Any:
    """The kernel's number of each sample's operation, (batch,) int64; -1 for none."""
    numbers = [_kernel().OPERATIONS.index(name) for name in drawn.names]
    return np.array([*numbers, -1])[drawn.index.numpy()]  # UNTOUCHED is -1, and so the last


def _matrices(drawn: DrawnOperations, height: int, width: int) -> Tensor:
    """(batch, 6) float64."""
    return torch.stack(pixel_matrices(drawn, height, width), dim=1)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The same as constants.normalise, bit by bit: by a table of the 256 levels."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(1, 3, 1, 256)
    table = constants.normalise(levels, mean, std).view(3, 256).numpy()
    memory, result = _empty(images, np.float32)
    pixels = len(images), images.shape[2] * images.shape[3], 3
    source, target = _channels_last(images).reshape(pixels), memory.reshape(pixels)

    def work(start: int, stop: int) -> None:
        _kernel().normalise(source, table, start, stop, target)

    _share_out(work, len(images))
    return result


def mix_in_place(images: Tensor, targets: Tensor, mixing: Mixing, generator: Generator) -> None:
    """The same as mixup.mix, written into both tensors.

    images: (batch, 3, height, width) float32 with the channels innermost; targets: (batch, classes) float32, contiguous.
    """
    if mixing.mixup == 0 and mixing.cutmix == 0:
        return
    batch, _, height, width = images.shape
    share = draw_share(mixing, height, width, images.device, generator)
    channels_last, around = images.permute(0, 2, 3, 1), np.float32(share.around.item())
    pairs, own = batch // 2, around
    if around < 1:
        values = channels_last.view(
            batch, -1
        ).numpy()  # view: an error rather than a copy, which would be mixed in vain
        _share_out(lambda start, stop: _kernel().blend_pairs(values, around, start, stop), pairs)
    elif share.rows.any() and share.columns.any():
        box = (*_bounds(share.rows), *_bounds(share.columns))
        rows = channels_last.view(batch, height, 3 * width).numpy()
        _share_out(lambda start, stop: _kernel().swap_boxes(rows, *box, start, stop), pairs)
        own = np.float32(1 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width))
    _kernel().blend_pairs(targets.numpy(), own, 0, pairs)


def _bounds(inside: Tensor) -> tuple[int, int]:
    """Start and end of one run. inside: (side,) bool."""
    start = int(inside.int().argmax())
    return start, start + int(inside.sum())
