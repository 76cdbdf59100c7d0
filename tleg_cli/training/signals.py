"""What is to happen after a step, decided by all ranks together: stop, because one was asked to, or write a checkpoint."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tleg_cli.errors import Preempted
from tleg_cli.launch.stop_signals import only_noting, stop_requested
from tleg_cli.training.distributed import World


@dataclass(frozen=True)
class Requests:
    """What is to happen after this step, on every rank alike."""

    stop: bool  # a rank was asked to stop
    save: bool  # a checkpoint is due on a rank


@dataclass
class Interval:
    """When a checkpoint is due in addition to those of the epochs: None, "500" (steps) or "30m" (minutes since the last)."""

    every: str | None
    saved: float = field(default_factory=time.monotonic)

    def due_by_step(self, step: int) -> bool:
        """Whether after step number `step`: the same on every rank."""
        return self.every is not None and not self.every.endswith("m") and step % int(self.every) == 0

    def due_by_clock(self) -> bool:
        """Whether now, by the clock of the process that asks."""
        if self.every is None or not self.every.endswith("m"):
            return False
        return time.monotonic() - self.saved >= 60 * int(self.every.removesuffix("m"))


@contextlib.contextmanager
def stop_requests(world: World) -> Iterator[Callable[[bool], Requests]]:
    """Yields ask(due), which every rank calls after every step: the requests of all ranks.

    With several ranks the answer is that of the call before, so that no rank waits for the others' messages.
    See launch/stop_signals.py for what is a request. A second Ctrl-C ends the process at once.
    """
    with only_noting():
        if world.size == 1:
            yield lambda due: Requests(stop_requested() is not None, due)
            return
        questions = _Questions()
        try:
            yield questions.ask
        except Preempted:
            questions.finish()
            raise
        questions.finish()


class _Questions:
    """What the ranks ask each other, in a group of its own on the host: asking a GPU would stall it at every step."""

    def __init__(self) -> None:
        self.group: dist.ProcessGroup = dist.new_group(backend="gloo")  # type: ignore[assignment]
        self.under_way: deque[tuple[Any, Tensor]] = deque()
        self.saved = False  # by the last answer: the call after it was made before that

    def ask(self, due: bool) -> Requests:
        """Sends this rank's requests; the answer is that of the call before."""
        flags = torch.tensor([int(stop_requested() is not None), int(due)])
        self.under_way.append((dist.all_reduce(flags, group=self.group, async_op=True), flags))
        if len(self.under_way) == 1:
            return Requests(False, False)
        work, answer = self.under_way.popleft()
        work.wait()
        stop, save = (bool(flag) for flag in answer.tolist())
        self.saved = save = save and not self.saved
        return Requests(stop, save)

    def finish(self) -> None:
        """Every rank has asked as often: no message is left under way when the group is taken down."""
        for work, _ in self.under_way:
            work.wait()
