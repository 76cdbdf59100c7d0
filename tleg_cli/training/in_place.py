"""In-place distillation: at shallower depths an any-depth stage 1 also imitates its own deepest form (Yu and Huang, US-Nets, 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tleg_cli.config import Distillation
from tleg_cli.learngene.depths import Depth
from tleg_cli.training.losses import distillation_loss


@dataclass(frozen=True)
class InPlace:
    """weight: its share of the loss. first_step: from which step on, counted from 0. deepest: the depth that is imitated."""

    weight: float
    first_step: int
    deepest: Depth
    how: Distillation

    def applies(self, step: int, depth: Depth) -> bool:
        """Whether a step at this depth has the deepest form as a second teacher."""
        return step >= self.first_step and depth != self.deepest

    def blend(self, loss: Tensor, logits: Tensor, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """(1 - weight) * loss + weight * the distance to the deepest form, as it is now, without dropout or gradient.

        logits: (batch, classes) at the step's depth; images: (batch, 3, size, size).
        """
        network.eval()
        with torch.no_grad():
            own = network(images, self.deepest)
        network.train()
        return (1 - self.weight) * loss + self.weight * distillation_loss(logits, own, targets, self.how)
