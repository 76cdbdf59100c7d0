"""Stand-ins for what FFCV's writer calls: it would wait for ever for a process that died, and print a traceback for a full disk."""

from __future__ import annotations

import errno
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tleg_cli.data.ffcv.verify import Progress
from tleg_cli.errors import DataError
from tleg_cli.launch.processes import die_with

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def guards(workers: list[Any], progress: Progress) -> dict[str, Any]:
    """By their names in ffcv.writer. workers: takes the processes that are started; a dead one raises DataError."""
    return {
        "tqdm": _bar(progress),
        "sleep": _watch(workers),
        "Process": _recorded(workers),
        "Queue": lambda: _Queue(workers, multiprocessing.Queue(), os.getpid()),
    }


def _recorded(workers: list[Any]) -> Callable[..., Any]:
    """Process, which notes what it starts: one that dies at once would be missing from any list made later."""

    def process(**arguments: Any) -> Any:
        arguments["target"] = partial(_ends_with_errno, os.getpid(), arguments["target"])
        workers.append(multiprocessing.Process(**arguments, daemon=True))
        return workers[-1]

    return process


def _ends_with_errno(parent: int, target: Callable[..., None], *arguments: Any) -> None:
    """What the system refuses becomes the exit code, without the traceback that multiprocessing would print."""
    die_with(parent)
    try:
        target(*arguments)
    except OSError as error:
        sys.exit(error.errno or 1)


def _refuse_dead(workers: Sequence[Any]) -> None:
    """Raises DataError if one of the writer's processes has died."""
    dead = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
    if dead:
        reason = f" ({os.strerror(dead[0])})" if dead[0] in _REFUSALS else ""
        raise DataError(
            f"a writing process ended with code {dead[0]}{reason}: the disk or the memory may be full; nothing was kept"
        )


def _watch(workers: Sequence[Any]) -> Callable[[float], None]:
    """A sleep that looks after the writer's processes."""

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        _refuse_dead(workers)

    return sleep


@dataclass(frozen=True)
class _Queue:
    """A queue that looks after them too while this process waits: one may die with its images done, its last page unwritten."""

    workers: Sequence[Any]
    queue: Any
    owner: int

    def put(self, value: Any) -> None:
        self.queue.put(value)

    def get(self) -> Any:
        while os.getpid() == self.owner:
            try:
                return self.queue.get(timeout=0.1)
            except queue.Empty:
                _refuse_dead(self.workers)
        return self.queue.get()


def _bar(progress: Progress) -> Any:
    """What FFCV calls tqdm, reporting to us."""

    class Bar:
        def __init__(self, total: int):
            self.total, self.done = int(total), 0

        def update(self, count: int) -> None:
            self.done += int(count)
            progress("writing", self.done, self.total)

        def close(self) -> None: ...

    return Bar
