"""What the training loop is given: what to train, how and on what, and who looks on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from tleg_cli.augment.pipeline import Augment
from tleg_cli.config import Recipe
from tleg_cli.data.batches import Loader
from tleg_cli.training.losses import Objective
from tleg_cli.training.optim import Plan
from tleg_cli.training.state import Record


class Watch(Protocol):
    """Who looks on. Only rank 0's watch shows anything."""

    def start(self, plan: Plan, done: int) -> None: ...
    def step(self, step: int, loss: Tensor, lr: float) -> None: ...
    def epoch(self, record: Record) -> None: ...
    def say(self, text: str) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Job:
    """What is trained, how and on what. mean, std: of the normalisation, for pixels in 0..1."""

    model: nn.Module
    objective: Objective
    recipe: Recipe
    train: Loader
    val: Loader
    augment: Augment
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int
    evaluate_first: bool = False  # also score the network before its first step
