"""Training as it happens, on rank 0's stderr: a bar where a person looks on, one line an epoch where a file does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from torch import Tensor

    from tleg_cli.training.optim import Budget
    from tleg_cli.training.records import EpochRecord

_REFRESH = 0.5  # seconds between two readings of the loss: each waits for the device


@dataclass
class Screen:
    """Shows one training after another. `quiet` for every rank but the first."""

    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True))
    progress: Progress | None = None
    task: TaskID | None = None
    budget: Budget | None = None
    first_step: int = 0
    began: float = 0.0
    looked: float = 0.0
    best: str = ""

    def start(self, budget: Budget, done: int) -> None:
        """A training of `budget` begins, `done` steps of it taken earlier."""
        self.budget, self.first_step, self.began, self.best = budget, done, time.monotonic(), ""
        if self.quiet:
            return
        self.say(
            f"{_count(budget.epochs, 'epoch')} of {_count(budget.steps_per_epoch, 'step')}, {budget.global_batch} images a step, "
            f"lr {budget.lr:.3g}, {budget.steps * budget.global_batch:,} images in all"
        )
        if self.console.is_terminal:
            self.progress = Progress(*_columns(), console=self.console, transient=True)
            self.task = self.progress.add_task("", total=budget.steps, completed=done, note="")
            self.progress.start()

    def step(self, step: int, loss: Tensor, lr: float) -> None:
        """`step` steps are taken."""
        now = time.monotonic()
        if self.progress is None or self.budget is None or self.task is None or now - self.looked < _REFRESH:
            return
        self.looked = now
        speed = (step - self.first_step) * self.budget.global_batch / (now - self.began)
        epoch = min(step // self.budget.steps_per_epoch + 1, self.budget.epochs)
        note = f"loss {float(loss):.3f}  {self.best}{_rate(speed)}"
        self.progress.update(self.task, completed=step, description=f"epoch {epoch}/{self.budget.epochs}", note=note)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""
        self.best = f"top-1 {record['top1']:.1f} %  "
        parts = [f"epoch {record['epoch']:>3}"]
        if "loss" in record:
            parts.append(f"loss {record['loss']:.4f}")
        parts.append(f"top-1 {record['top1']:.2f} %")
        parts += [f"depth {depth} {score:.2f} %" for depth, score in record.get("top1_at", {}).items()]
        if "ema_top1" in record:
            parts.append(f"EMA {record['ema_top1']:.2f} %")
        if "images_per_second" in record:
            parts.append(_rate(record["images_per_second"]))
        self.say("  ".join(parts))

    def say(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """The training has ended, well or not."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _rate(images: float) -> str:
    return f"{images:,.0f} images/s" if images >= 10 else f"{images:.2g} images/s"


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
