"""What is to happen after a step, decided by all ranks together: stop, because one was asked to, or write a checkpoint."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

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

    def due(self, step: int) -> bool:
        """Whether after step number `step`; by the clock of the process that asks."""
        if self.every is None:
            return False
        if self.every.endswith("m"):
            return time.monotonic() - self.saved >= 60 * int(self.every.removesuffix("m"))
        return step % int(self.every) == 0


@contextlib.contextmanager
def stop_requests(world: World) -> Iterator[Callable[[bool], Requests]]:
    """Yields ask(due), which every rank calls after every step: the requests of all ranks.

    See launch/stop_signals.py for what is a request. A second Ctrl-C ends the process at once.
    """
    with only_noting():
        # a group of its own on the host: asking a GPU would stall it at every step
        group: dist.ProcessGroup | None = dist.new_group(backend="gloo") if world.size > 1 else None  # type: ignore[assignment]

        def ask(due: bool) -> Requests:
            stop = stop_requested() is not None
            if group is None:
                return Requests(stop, due)
            flags = torch.tensor([int(stop), int(due)])
            dist.all_reduce(flags, group=group)
            any_stop, any_save = flags.tolist()
            return Requests(bool(any_stop), bool(any_save))

        yield ask
