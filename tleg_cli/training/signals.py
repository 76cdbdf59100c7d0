"""A request to stop (SIGTERM, SIGUSR1, Ctrl-C) only sets a flag; training looks at it between steps, all ranks together."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

import torch
import torch.distributed as dist

from tleg_cli.training.distributed import World

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@contextlib.contextmanager
def stop_requests(world: World) -> Iterator[Callable[[], bool]]:
    """Yields a function that says, on every rank alike, whether any rank was asked to stop. A second Ctrl-C leaves at once."""
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            os._exit(128 + signal.SIGINT)
        asked = True

    # a group of its own on the host: asking a GPU would stall it at every step
    group: dist.ProcessGroup | None = dist.new_group(backend="gloo") if world.size > 1 else None  # type: ignore[assignment]

    def any_rank_asked() -> bool:
        if group is None:
            return asked
        flag = torch.tensor([int(asked)])
        dist.all_reduce(flag, group=group)
        return bool(flag.item())

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield any_rank_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
