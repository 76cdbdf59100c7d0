"""One process at a time in a run folder, and a folder that stays the same one while it is held."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from tleg_cli.errors import TlegError

CHECKPOINTS = "checkpoints"
_NAME = ".lock"
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # neither another file through a link nor a FIFO that waits


@dataclass
class _Hold:
    """Open files of a held folder: the lock, and the folder of checkpoints as soon as there is one."""

    lock: int
    checkpoints: int | None = None

    def close(self) -> None:
        for descriptor in (self.lock, self.checkpoints):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


_held: dict[Path, _Hold] = {}  # by absolute path


def lock_folder(path: Path) -> None:
    """Makes the folder and holds it until this process lets go of it or dies. Raises TlegError if another one holds it."""
    if path.absolute() in _held:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / _NAME, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_a_file(path, "a symbolic link") from error
        raise TlegError(f"can't write in {path}: {error.strerror}") from error
    hold = _Hold(descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        hold.close()
        raise _not_a_file(path, "a FIFO, a device or a socket")
    if not _flock(descriptor):
        hold.close()
        raise TlegError(f"another run is writing in {path}; wait for it, or choose another --out")
    _held[path.absolute()] = hold
    hold_checkpoints(path)


def hold_checkpoints(path: Path) -> None:
    """Remembers the folder of checkpoints of a held folder, as soon as there is one; a link may lead to it."""
    hold = _held[path.absolute()]
    if hold.checkpoints is None:
        with contextlib.suppress(FileNotFoundError):
            hold.checkpoints = os.open(path / CHECKPOINTS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _not_a_file(path: Path, what: str) -> TlegError:
    return TlegError(f"{path / _NAME} is {what}, not a file of tleg; remove it, or choose another --out")


def _flock(descriptor: int) -> bool:
    """Tries for two seconds: a run that was just killed holds its lock until the system has cleared it away."""
    for left in reversed(range(20)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.1 if left else 0)
    return False


def unlock_folder(path: Path) -> None:
    """Lets go of the folder, if this process holds it."""
    hold = _held.pop(path.absolute(), None)
    if hold is not None:
        hold.close()


def what_was_replaced(path: Path) -> str | None:
    """The part of a held folder that was deleted or replaced since it was locked; None if it is as it was.

    Call it before each checkpoint: writing would bring a deleted folder back, with nothing in it that says which run it was.
    """
    hold = _held[path.absolute()]
    if not _is_still(path / _NAME, hold.lock):
        return str(path)
    if hold.checkpoints is not None and not _is_still(path / CHECKPOINTS, hold.checkpoints):
        return str(path / CHECKPOINTS)
    return None


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether a path still names the open file: by its inode, which no other file can have while it is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def is_running(path: Path) -> bool:
    """Whether a process holds the lock of this folder."""
    try:
        descriptor = os.open(path / _NAME, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _let_go_in_child() -> None:
    """A loader worker that outlives its parent must not keep the folder locked: the lock lives as long as any copy of it."""
    for hold in _held.values():
        hold.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
