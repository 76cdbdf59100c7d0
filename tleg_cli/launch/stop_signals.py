"""A request to stop (SIGTERM, SIGHUP, SIGUSR1, Ctrl-C), at any moment of a command.

Until training begins it raises StopRequested, which ends the command; from then on it is only noted, and the loop asks
for it between two steps. So nothing is lost: before the first step there is nothing to save, and the loop, the writing
of a checkpoint and of the result are never cut short. Only a second Ctrl-C ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tleg_cli.errors import EXIT_PREEMPTED

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_STOP_NUMBERS = frozenset(int(number) for number in STOP_SIGNALS)
_SECONDS_TO_END = 10.0
_DEFERRED = 0.05  # seconds between two tries to stop while a module is imported
_SAME_CTRL_C = 0.5  # seconds: `timeout -s INT` sends the signal to the process and again to its group


class StopRequested(BaseException):
    """Asked to stop before training began. Not an Exception: no `except Exception` on the way must keep it."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@dataclass
class _Request:
    """What this process has been asked. before: the handlers that ours have replaced; empty if ours are not installed."""

    number: int | None = None
    at: float = 0.0
    raises: bool = True
    deferred: bool = False
    before: dict[int, Any] = field(default_factory=dict)


_request = _Request()


def stop_requested() -> int | None:
    """The number of the first stop signal, or None."""
    return _request.number


@contextlib.contextmanager
def _ends_anyway() -> Iterator[None]:
    """In a rank, while the block runs: a request to stop before training ends the process after a while, whatever it is doing.

    Other code may swallow the exception (a bare `except` while importing), and while C++ waits for a rank that
    has ended already, Python runs no handler at all; but it writes the signal's number to this pipe at once.
    """
    if "RANK" not in os.environ:
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def wait_for_signals() -> None:
        while numbers := os.read(read_end, 64):  # empty when the other end is closed
            if _request.raises and not _STOP_NUMBERS.isdisjoint(numbers):
                time.sleep(_SECONDS_TO_END)
                if _request.raises and _request.before:
                    os._exit(EXIT_PREEMPTED)
        os.close(read_end)

    threading.Thread(target=wait_for_signals, daemon=True, name="tleg-stop").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write_end)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: an exception raised inside one written in C++ can end the process (SIGABRT)."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    """The signal once more in a moment, until the import has ended."""

    def send() -> None:
        _request.deferred = False
        if _request.before:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    _request.deferred = True
    timer = threading.Timer(_DEFERRED, send)
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def _sent_again_if_ignored() -> Iterator[None]:
    """While the block runs: Python ignores what is raised in destructors, and in what logging runs around a fork, and goes
    on; a request to stop that came just then is sent once more."""

    def on_ignored(ignored: sys.UnraisableHookArgs) -> None:
        if not isinstance(ignored.exc_value, StopRequested):
            before(ignored)
        elif _request.raises:
            _request.number = None
            _send_again(ignored.exc_value.number)

    before, sys.unraisablehook = sys.unraisablehook, on_ignored
    try:
        yield
    finally:
        sys.unraisablehook = before


def raise_stop_request() -> None:
    """For waits before training: raises StopRequested again if other code has swallowed it, as a bare `except` while importing does."""
    if _request.number is not None and _request.raises:
        raise StopRequested(_request.number)


@contextlib.contextmanager
def catch_stop_signals(before_exit: Callable[[], None] = lambda: None) -> Iterator[None]:
    """While the block runs, a stop signal raises StopRequested, or is noted once training has begun.

    What the starter of this process wanted ignored stays ignored: `nohup`, or Ctrl-C for a script's background jobs.
    before_exit: called when a second Ctrl-C ends the process at once. Does nothing outside the main thread, or if the
    handlers are installed already.
    """
    if _request.before or threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if _request.number is None and _request.raises and _is_importing(frame):
            if not _request.deferred:
                _request.at = now
                _send_again(number)
            elif number == signal.SIGINT and now - _request.at > _SAME_CTRL_C:
                before_exit()
                os._exit(128 + signal.SIGINT)
        elif _request.number is None:
            _request.number, _request.at = number, now
            if _request.raises:
                raise StopRequested(number)
        elif number == signal.SIGINT and now - _request.at > _SAME_CTRL_C:
            before_exit()
            os._exit(128 + signal.SIGINT)

    _request.number, _request.raises = None, True
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _request.before[number] = signal.signal(number, on_signal)
    try:
        with _ends_anyway(), _sent_again_if_ignored():
            yield
    finally:
        for one, handler in _request.before.items():
            signal.signal(one, handler)
        _request.before = {}


@contextlib.contextmanager
def only_noting() -> Iterator[None]:
    """From here on a stop signal is only noted, also after the block: what has been trained is still to be written.

    Raises StopRequested at the start if there is a request already.
    """
    if _request.before and _request.number is not None:
        raise StopRequested(_request.number)
    with catch_stop_signals():
        _request.raises = False
        yield


def ignore_stop_signals() -> None:
    """In a process that its parent ends: a signal to the process group must not take it away before that."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _in_child() -> None:
    """A forked process is not asked to save anything: default behaviour, or none at all while its parent trains."""
    if _request.before and "RANK" in os.environ:
        signal.set_wakeup_fd(-1)  # the pipe is its parent's
    for number, handler in _request.before.items():
        signal.signal(number, handler if _request.raises else signal.SIG_IGN)
    _request.before = {}


os.register_at_fork(after_in_child=_in_child)
