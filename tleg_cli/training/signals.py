"""A request to stop (SIGTERM, SIGUSR1, Ctrl-C) only sets a flag; training looks at it between steps, all ranks together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

import torch
import torch.distributed as dist

from tleg_cli.training.distributed import World

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@dataclass(frozen=True)
class Requests:
    """What is to happen after this step, on every rank alike."""

    stop: bool  # a rank was asked to stop
    save: bool  # a rank says that a checkpoint is due


@dataclass
class Interval:
    """When a checkpoint is due beside those of the epochs: None, "500" (steps) or "30m" (minutes since the last one)."""

    every: str | None
    saved: float = field(default_factory=time.monotonic)

    def due(self, step: int) -> bool:
        """Whether after step number `step`; by the clock of the process that asks."""
        if self.every is None:
            return False
        if self.every.endswith("m"):
            return time.monotonic() - self.saved >= 60 * int(self.every.removesuffix("m"))
        return step % int(self.every) == 0


@contextlib.contextmanager
def stop_requests(world: World) -> Iterator[Callable[[bool], Requests]]:
    """Yields ask(due), which every rank calls after every step: what any of them wishes. A second Ctrl-C leaves at once."""
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            os._exit(128 + signal.SIGINT)
        asked = True

    # a group of its own on the host: asking a GPU would stall it at every step
    group: dist.ProcessGroup | None = dist.new_group(backend="gloo") if world.size > 1 else None  # type: ignore[assignment]

    def ask(due: bool) -> Requests:
        if group is None:
            return Requests(asked, due)
        flags = torch.tensor([int(asked), int(due)])
        dist.all_reduce(flags, group=group)
        stop, save = flags.tolist()
        return Requests(bool(stop), bool(save))

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield ask
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
