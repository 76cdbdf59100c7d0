"""One layer of augmentation: every sample of the batch gets the one operation that was drawn for it.

A GPU computes each kind of operation for all samples and masks: to sort samples by kind, the host would have to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tleg_cli.augment.choice import Choice, as_mask
from tleg_cli.augment.colour import BLENDS, TABLES, look_up, mix_in
from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.geometry import GEOMETRIC, warp

Operation = Callable[[Tensor, Choice], Tensor]


def apply_all(images: Tensor, choices: Sequence[Choice], fill: tuple[float, ...]) -> Tensor:
    """One layer after the other. images: (batch, 3, height, width) uint8, never written to; so is the result."""
    if compiled.usable(images):
        return compiled.recolour(images, choices, fill)
    for choice in choices:
        images = apply(images, choice, fill)
    return images


def apply(images: Tensor, choice: Choice, fill: tuple[float, ...]) -> Tensor:
    """Gives each sample its operation; an untouched sample stays as it is, bit by bit.

    images: (batch, 3, height, width) uint8; so is the result. fill: three levels for what geometry lays bare.
    """
    kinds: list[tuple[tuple[str, ...], Operation]] = [
        (tuple(TABLES), look_up),
        (BLENDS, mix_in),
        (GEOMETRIC, lambda images, choice: warp(images, choice, fill)),
    ]
    where_drawn = by_rows if images.device.type == "cpu" else by_mask
    for names, operation in kinds:
        if choice.can_be(names):
            images = where_drawn(operation, names, images, choice)
    return images


def by_mask(operation: Operation, names: tuple[str, ...], images: Tensor, choice: Choice) -> Tensor:
    """Computes the operation for all samples and keeps it where one of `names` was drawn. Never waits for the device."""
    return torch.where(as_mask(choice.any_of(names), 4), operation(images, choice), images)


def by_rows(operation: Operation, names: tuple[str, ...], images: Tensor, choice: Choice) -> Tensor:
    """The same result on a CPU, where there is nobody to wait for: computes it only for the samples that need it."""
    rows = choice.any_of(names).nonzero().view(-1)
    if not len(rows):
        return images
    return images.index_copy(0, rows, operation(images[rows], choice.rows(rows)))
