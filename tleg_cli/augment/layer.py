"""One layer of augmentation: every sample of a batch gets the operation that was drawn for it.

A GPU computes each kind of operation for all samples and masks: to sort samples by kind, the host would have to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tleg_cli.augment.colour import BLENDS, TABLES, look_up, mix_in
from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.drawn_operations import DrawnOperations, as_mask
from tleg_cli.augment.geometry import GEOMETRIC, warp

Operation = Callable[[Tensor, DrawnOperations], Tensor]


def apply_all(images: Tensor, drawn_per_layer: Sequence[DrawnOperations], fill: tuple[float, ...]) -> Tensor:
    """One layer after the other. images: (batch, 3, height, width) uint8, never written to; so is the result."""
    if compiled.usable(images):
        return compiled.recolour(images, drawn_per_layer, fill)
    for drawn in drawn_per_layer:
        images = apply(images, drawn, fill)
    return images


def apply(images: Tensor, drawn: DrawnOperations, fill: tuple[float, ...]) -> Tensor:
    """Gives each sample its operation; an untouched sample stays as it is, bit by bit.

    images: (batch, 3, height, width) uint8; so is the result. fill: three levels for what was outside the image.
    """
    kinds: list[tuple[tuple[str, ...], Operation]] = [
        (tuple(TABLES), look_up),
        (BLENDS, mix_in),
        (GEOMETRIC, lambda images, drawn: warp(images, drawn, fill)),
    ]
    where_drawn = by_rows if images.device.type == "cpu" else by_mask
    for names, operation in kinds:
        if drawn.can_be(names):
            images = where_drawn(operation, names, images, drawn)
    return images


def by_mask(operation: Operation, names: tuple[str, ...], images: Tensor, drawn: DrawnOperations) -> Tensor:
    """Computes the operation for all samples and keeps the result for those that drew one of `names`. Never waits for the device."""
    return torch.where(as_mask(drawn.any_of(names), 4), operation(images, drawn), images)


def by_rows(operation: Operation, names: tuple[str, ...], images: Tensor, drawn: DrawnOperations) -> Tensor:
    """The same result on a CPU, which needn't wait to count samples: computes it only for those that drew one of `names`."""
    rows = drawn.any_of(names).nonzero().view(-1)
    if not len(rows):
        return images
    return images.index_copy(0, rows, operation(images[rows], drawn.rows(rows)))
