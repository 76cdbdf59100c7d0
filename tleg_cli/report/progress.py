"""Training as it happens, on rank 0's stderr: a bar on a terminal; else a line for each epoch and every 30 seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn

from tleg_cli.errors import printable

if TYPE_CHECKING:
    from torch import Tensor

    from tleg_cli.training.optim import Budget
    from tleg_cli.training.records import EpochRecord

_REFRESH = 0.5  # seconds between two readings of the loss on a terminal: each waits for the device
_INTERVAL = 30.0  # seconds between two lines without a terminal


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
    shown: float = 0.0  # when the last step was shown
    best: str = ""

    def start(self, budget: Budget, done: int) -> None:
        """A training of `budget` begins, `done` steps of it taken earlier."""
        self.budget, self.first_step, self.best = budget, done, ""
        self.began = self.shown = time.monotonic()
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
        now, budget = time.monotonic(), self.budget
        if self.quiet or budget is None or not self._is_due(now):
            return
        self.shown = now
        seconds = (now - self.began) / max(step - self.first_step, 1)  # of one step, scoring included
        speed = budget.global_batch / max(seconds, 1e-9)
        if self.progress is not None and self.task is not None:
            epoch = min(step // budget.steps_per_epoch + 1, budget.epochs)
            note = f"loss {float(loss):.3f}  {self.best}{_rate(speed)}"
            self.progress.update(self.task, completed=step, description=f"epoch {epoch}/{budget.epochs}", note=note)
            return
        left = _duration(seconds * (budget.steps - step))
        self.say(f"step {step:,} of {budget.steps:,}  loss {float(loss):.4f}  lr {lr:.3g}  {_rate(speed)}  {left} left")

    def scoring(self, done: int, batches: int) -> None:
        """`done` of `batches` validation batches are scored."""
        now = time.monotonic()
        if not self.quiet and self.progress is None and self._is_due(now):
            self.shown = now
            self.say(f"scoring: {done:,} of {batches:,} batches")

    def _is_due(self, now: float) -> bool:
        return now - self.shown >= (_INTERVAL if self.progress is None else _REFRESH)

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
            self.console.print(printable(text), markup=False, emoji=False, highlight=False)

    def stop(self) -> None:
        """The training has ended, well or not."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _rate(images: float) -> str:
    return f"{images:,.0f} images/s" if images >= 10 else f"{images:.2g} images/s"


def _duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
