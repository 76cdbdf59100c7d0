"""Scores without labels: how often a network decides as its teacher does."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tleg_cli.augment.pipeline import normalise
from tleg_cli.data.batches import Batch, Loader
from tleg_cli.training.evaluate import autocast

if TYPE_CHECKING:
    from tleg_cli.training.job import Job


@dataclass
class LabelledByTeacher:
    """A validation loader whose labels are the teacher's decisions, which are taken once. teacher: normalised images -> logits."""

    loader: Loader
    teacher: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str
    device: torch.device
    samples: int
    batches: int
    decisions: dict[int, Tensor] = field(default_factory=dict)

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The loader's batches, in its order."""
        batches = self.loader.epoch(number, start)
        try:
            for position, (images, _) in enumerate(batches, start):
                if position not in self.decisions:
                    self.decisions[position] = self._decide(images)
                yield images, self.decisions[position]
        finally:
            batches.close()

    def close(self) -> None:
        """Of the loader."""
        self.loader.close()

    def _decide(self, images: Tensor) -> Tensor:
        with autocast(self.precision, self.device):
            logits = self.teacher(normalise(images.to(self.device), self.mean, self.std))
        return logits.argmax(dim=1).cpu()


def labelled_by_teacher(job: Job, teacher: Callable[[Tensor], Tensor], device: torch.device) -> LabelledByTeacher:
    """The job's validation split, scored against the teacher."""
    val = job.val
    return LabelledByTeacher(val, teacher, job.mean, job.std, job.recipe.precision, device, val.samples, val.batches)
