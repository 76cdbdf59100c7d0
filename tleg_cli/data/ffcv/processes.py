"""Work on many images, shared among forked processes: results come back in order, and nothing waits for a process that died.

Pipes only, no queues and no shared memory: containers often have a small or read-only /dev/shm.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from tleg_cli.errors import DataError
from tleg_cli.launch.processes import die_with
from tleg_cli.launch.stop_signals import ignore_stop_signals

Work = Callable[[int], bytes]

_AHEAD = 1 << 25  # bytes of results that may wait for the slower processes, per process
_OVERHEAD = 256  # bytes that any result takes
_FINE, _REFUSED = b"=", b"!"


@dataclass
class _Worker:
    process: Any
    results: Connection
    numbers: range  # what it works on
    received: int = 0
    waiting: deque[bytes] = field(default_factory=deque)
    held: int = 0  # bytes that wait

    def receive(self) -> None:
        """Takes one result. Raises DataError if the process has died."""
        try:
            message = self.results.recv_bytes()
        except (EOFError, OSError):
            self.process.join()
            raise DataError(_why_it_ended(self.process.exitcode, self.numbers[self.received])) from None
        self.waiting.append(message)
        self.received += 1
        self.held += len(message) + _OVERHEAD

    def take(self) -> bytes:
        """The oldest result that waits."""
        message = self.waiting.popleft()
        self.held -= len(message) + _OVERHEAD
        return message

    def may_send(self) -> bool:
        """Whether results are missing, and there is room for them."""
        return self.received < len(self.numbers) and self.held < _AHEAD


def in_order(work: Work, count: int, processes: int) -> Generator[bytes | DataError, None, None]:
    """work(0), work(1), ... work(count - 1), or the DataError that it raised.

    Raises DataError if a process dies. Close the generator to end the processes early.
    """
    workers: list[_Worker] = []
    try:
        for first in range(min(processes, count)):
            workers.append(_start(work, range(first, count, processes)))
        for number in range(count):
            worker = workers[number % len(workers)]
            while not worker.waiting:
                _receive(workers)
            yield _result(worker.take())
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.results.close()


def _start(work: Work, numbers: range) -> _Worker:
    results, end = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(os.getpid(), work, numbers, results, end), daemon=True
    )
    process.start()
    end.close()  # so that the pipe ends when the process does
    return _Worker(process, results, numbers)


def _receive(workers: Sequence[_Worker]) -> None:
    """Takes what has arrived, so that fast processes needn't wait for slow ones."""
    listened = {worker.results: worker for worker in workers if worker.may_send()}
    for ready in wait(list(listened)):
        listened[ready].receive()  # type: ignore[index]


def _result(message: bytes) -> bytes | DataError:
    return DataError(message[1:].decode()) if message[:1] == _REFUSED else message[1:]


def _run(parent: int, work: Work, numbers: Sequence[int], others: Connection, results: Connection) -> None:
    """In the child: never returns to the parent's code, and leaves what the parent handles to the parent."""
    ignore_stop_signals()  # a terminal or `timeout` sends them to all processes, and the parent ends this one
    die_with(parent)
    others.close()
    _one_thread_each()
    try:
        for number in numbers:
            results.send_bytes(_answer(work, number))
    except MemoryError:
        os._exit(errno.ENOMEM)
    except BrokenPipeError:  # the parent has ended
        os._exit(1)
    except BaseException:  # a bug, which keeps its traceback
        with contextlib.suppress(OSError):
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    results.close()  # what is in the pipe stays readable
    os._exit(0)


def _answer(work: Work, number: int) -> bytes:
    try:
        return _FINE + work(number)
    except DataError as error:
        return _REFUSED + str(error).encode(errors="replace")


def _one_thread_each() -> None:
    """The thread pools of the parent don't exist in a fork: a library that relied on them would wait forever."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _why_it_ended(code: int, number: int) -> str:
    reasons = {-signal.SIGKILL: "memory may be full", errno.ENOMEM: "memory is full", 1: "see above"}
    reason = reasons.get(code, "the image may be damaged")
    return (
        f"a process that reads images ended with code {code} at image {number} ({reason}); nothing incomplete is kept"
    )
