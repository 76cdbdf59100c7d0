"""Which operation each sample of a batch gets, and how strong it is.

Kept as tensors on the device, never as Python numbers, so that nothing waits for the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNTOUCHED = -1


@dataclass(frozen=True)
class DrawnOperations:
    """One operation per sample.

    names: operations that can occur, such as "Rotate". index: (batch,) int64 into names, or UNTOUCHED.
    argument: (batch,) float64, in the operation's own unit (degrees, bits, blend factor, share of the side).
    """

    names: tuple[str, ...]
    index: Tensor
    argument: Tensor

    def of(self, name: str) -> Tensor:
        """(batch,) bool: who gets this operation."""
        if name not in self.names:
            return torch.zeros_like(self.index, dtype=torch.bool)
        return self.index == self.names.index(name)

    def any_of(self, names: tuple[str, ...]) -> Tensor:
        """(batch,) bool: who gets one of these operations."""
        return torch.stack([self.of(name) for name in names]).any(0)

    def rows(self, rows: Tensor) -> DrawnOperations:
        """Those of some samples only. rows: (some,) int64."""
        return DrawnOperations(self.names, self.index[rows], self.argument[rows])

    def can_be(self, names: tuple[str, ...]) -> bool:
        """Whether one of these operations can occur at all. Known without looking at a tensor."""
        return not set(names).isdisjoint(self.names)


def as_mask(chosen: Tensor, dims: int) -> Tensor:
    """(batch,) -> (batch, 1, ..., 1) with `dims` dimensions, to be broadcast."""
    return chosen.view(-1, *[1] * (dims - 1))
