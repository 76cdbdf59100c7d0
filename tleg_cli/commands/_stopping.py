"""Long work that isn't a training, stopped by a signal: it cleans up, and the exit code says that it can go on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from tleg_cli.errors import Preempted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(BaseException):
    """Not an Exception: libraries turn those into errors of their own."""


@contextlib.contextmanager
def stoppable(then: str) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the block with Preempted, exit code 75. then: what the user can rely on and do.

    Only the first signal counts: cleaning up is not interrupted.
    """
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 1:
            raise _Stop

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    except _Stop:
        raise Preempted(f"stopped by {signal.Signals(asked[0]).name}: {then}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
