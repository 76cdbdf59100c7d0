"""Trainings of seconds: the digits preset, made tiny. Real data, real loop, real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch import device as torch_device

from tleg_cli.config import Config
from tleg_cli.config_file import load_config
from tleg_cli.training.distributed import World
from tleg_cli.training.optim import Budget

SETTINGS = (
    "backbone.options={img_size: 8, patch_size: 2, embed_dim: 16, num_heads: 2}",
    "teacher.options={channels: [8, 8, 8, 8]}",
    "teacher.image_size=16",
    "teacher.recipe.epochs=1",
    "teacher.recipe.batch_size=256",
    "teacher.recipe.warmup_epochs=0",
    "aux.depth='3'",
    "aux.allow_bad_teacher=true",  # after one epoch it is one
    "aux.epochs=3",
    "aux.batch_size=256",
    "aux.warmup_epochs=1",
    "descendant.epochs=2",
    "descendant.batch_size=256",
    "data.workers=0",
)
# for a teacher that is trained with 16 bits: where a convolution sees nothing but padding around one pixel, torch 2.14's gradient of its
# weights is random on processors with AMX or AVX512-FP16
NOT_ONE_PIXEL = "teacher.image_size=32"
STEPS = 5  # of an epoch: 1297 images, 256 a step
ALONE = World(0, 1, torch_device("cpu"))


def tiny_config(*settings: str, data: str = "digits", teacher: Path | None = None, seed: int = 0) -> Config:
    weights = str(teacher) if teacher else None
    return load_config("digits", (*SETTINGS, *settings), data__path=data, teacher__weights=weights, seed=seed)


def as_options(*settings: str) -> list[str]:
    """The same settings for the command line."""
    return [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]


class Onlooker:
    """An Observer that remembers, and that may act after a step."""

    def __init__(self, after_step: Callable[[int], Any] = lambda step: None):
        self.after_step = after_step
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.records: list[dict[str, Any]] = []
        self.said: list[str] = []

    def start(self, budget: Budget, done: int) -> None:
        self.budget = budget

    def step(self, step: int, loss: Tensor, lr: float) -> None:
        self.steps.append(step)
        self.losses.append(float(loss))
        self.rates.append(lr)
        self.after_step(step)

    def scoring(self, done: int, batches: int) -> None: ...

    def epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def say(self, text: str) -> None:
        self.said.append(text)

    def stop(self) -> None: ...
