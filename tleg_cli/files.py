"""Files appear whole or not at all: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from tleg_cli.errors import TlegError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what stands there when the block ends well is renamed to `path`.

    If anything fails, `path` is as it was before. Raises TlegError where the system refuses (full disk, no permission).
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except Exception as error:
        reason = why_not_written(error)
        if reason is None:
            raise
        raise TlegError(f"can't write {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def why_not_written(error: Exception) -> str | None:
    """What the system said, if it is the system that refused; None for a mistake of ours.

    safetensors and torch report a full disk by errors of their own: SafetensorError, and RuntimeError of their zip writer.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = (str(error).splitlines() or [""])[0]
    if type(error).__name__ == "SafetensorError":
        return text.removeprefix("Error while serializing: I/O error: ")
    if isinstance(error, RuntimeError) and ("inline_container" in text or "PytorchStreamWriter" in text):
        return "the disk is full, or doesn't take any more"
    return None


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
