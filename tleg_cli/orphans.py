"""What a process must not leave behind when it is killed: children that wait for it for ever, and half-written files."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(parent: int) -> None:
    """In a child of the process `parent`: asks Linux to kill it when that dies. Elsewhere nothing happens."""
    with contextlib.suppress(AttributeError, OSError):  # no Linux
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


@contextlib.contextmanager
def owned(path: Path) -> Iterator[None]:
    """Makes the file `path`, and holds a lock on it as long as this process lives: see remove_abandoned.

    Whoever writes it must open it where it stands: the lock is of the file, not of its name.
    """
    with path.open("xb") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Files that a process owned that was killed. Those of a living one stay."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
