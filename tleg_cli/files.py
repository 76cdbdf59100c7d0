"""Files appear complete or not at all: temporary name, fsync, rename, fsync of the folder. Leftovers of killed calls go."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tleg_cli.errors import TlegError, first_line

# `.NAME.0123abcd.tleg.tmp`: only tleg writes such names, and a living owner holds a lock on the file
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tleg\.tmp", re.DOTALL)
_LONGEST = (
    100  # bytes of the name that a temporary name repeats: with its ends it must fit into 255, or 143 if encrypted
)
_FOLDER_PREFIX = "tleg-"
_OWNER = ".tleg-owner"  # in a temporary folder: the file that its owner holds a lock on


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary, empty file next to `path`, which replaces `path` if the block ends without an error.

    If anything fails, `path` is as it was before. The new file gets the mode that the umask gives. First removes what
    calls left that were killed while they wrote the same file. Raises TlegError if the system refuses (full disk,
    no permission) or if `path` is a folder, a device or a pipe.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_other_kinds(path)
        remove_leftovers(path.parent, path.name)
        temporary = path.with_name(f".{_shortened(path.name)}.{secrets.token_hex(4)}.tleg.tmp")
        with _locked(temporary) as mode:
            yield temporary
            temporary.chmod(mode)  # safetensors puts a file of its own there, with mode 0600
            sync(temporary)
            os.replace(temporary, path)
        sync(path.parent)
    except Exception as error:
        reason = why_not_written(error)
        if reason is None:
            raise
        raise TlegError(f"can't write {path}: {reason}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _refuse_other_kinds(path: Path) -> None:
    """A rename would replace a device or a pipe by a file."""
    if path.exists() and not path.is_file():
        raise TlegError(f"can't write {path}: it exists and is not a file; choose another name")


def _shortened(name: str) -> str:
    """As much of a file's name as a temporary name may repeat."""
    return os.fsdecode(os.fsencode(name)[:_LONGEST])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Creates the file `path`, yields its mode, and holds a lock on it until the block ends or this process dies.

    The lock belongs to the file, not to its name: other processes that write it must open it, not replace it.
    """
    with path.open("xb") as file:
        with contextlib.suppress(OSError):  # a file system without locks: then it is never taken for a leftover either
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes the temporary files in `folder` (of the file `name` only) whose owner was killed.

    What has another name, another user or a living owner stays: it may be somebody else's.
    """
    start = "." if name is None else f".{_shortened(name)}."
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if entry.startswith(start) and _TEMPORARY.fullmatch(entry) and _is_abandoned(folder / entry):
                with contextlib.suppress(OSError):
                    (folder / entry).unlink()


def _is_abandoned(path: Path) -> bool:
    """Whether a file is ours, and no process holds the lock that its owner took."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder in the system's temporary folder, removed when the block ends. Folders that killed calls left behind are removed first.

    Raises TlegError if none can be written to.
    """
    try:
        _remove_left_folders(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    except OSError as error:
        raise TlegError(
            f"no temporary folder can be written ({error.strerror or error}); set TMPDIR to a folder with free space"
        ) from error
    try:
        with _locked(folder / _OWNER):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_folders(parent: Path) -> None:
    for folder in parent.glob(f"{_FOLDER_PREFIX}*"):
        if not folder.is_symlink() and _is_abandoned(folder / _OWNER):
            shutil.rmtree(folder, ignore_errors=True)


def why_not_written(error: Exception) -> str | None:
    """The system's reason if it was the system that refused to write; None for a mistake of ours.

    safetensors and torch report a full disk by errors of their own: SafetensorError, and RuntimeError of their zip writer.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = first_line(error)
    if type(error).__name__ == "SafetensorError":
        return text.removeprefix("Error while serializing: I/O error: ")
    if isinstance(error, RuntimeError) and ("inline_container" in text or "PytorchStreamWriter" in text):
        return "the disk is full or refuses to take more"
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


def open_regular(path: Path | str | bytes) -> BinaryIO:
    """Opens a regular file for reading. Raises OSError for anything else: a FIFO would wait forever, a device never ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", os.fsdecode(path))
    raise OSError(errno.EINVAL, f"it is {special_file(kind)}, not a regular file", os.fsdecode(path))


def special_file(mode: int) -> str | None:
    """What a FIFO, socket or device with this `st_mode` is called; None for regular files and folders."""
    tests = {stat.S_ISFIFO: "a FIFO", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((name for is_kind, name in tests.items() if is_kind(mode)), None)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes. Raises OSError for what is not a regular file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
