"""A rank's sign of life for the process that started it: what it is doing, rewritten every second by a thread."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ERROR_FOLDER = "TLEG_ERROR_FOLDER"  # of the launcher: pulses, and the one line that it then prints
HANG_TIMEOUT = "TLEG_HANG_TIMEOUT"  # seconds without a sign of life, or without anything done, until a rank is ended
DEFAULT_TIMEOUT = 300.0


@dataclass
class Pulse:
    """What a rank says of itself. since: when it began what it does, in seconds of time.time()."""

    rank: int
    pid: int
    step: int
    doing: str
    since: float


_now = Pulse(0, 0, 0, "starting", 0.0)


def mark(doing: str, step: int | None = None) -> None:
    """The main thread says what it begins."""
    _now.doing, _now.since = doing, time.time()
    if step is not None:
        _now.step = step


def hang_timeout() -> float:
    """Seconds. Anything but a number above 0 in the environment counts for nothing."""
    with contextlib.suppress(ValueError):
        if (seconds := float(os.environ.get(HANG_TIMEOUT, ""))) > 0:
            return seconds
    return DEFAULT_TIMEOUT


@contextlib.contextmanager
def pulse(rank: int) -> Iterator[None]:
    """Shows this rank's pulse to its launcher, if it has one. Whoever leaves by an exception leaves its last one behind."""
    folder = Path(os.environ.get(ERROR_FOLDER) or "/nowhere")
    if not folder.is_dir():
        yield
        return
    _now.rank, _now.pid = rank, os.getpid()
    mark("starting")
    file, ended = folder / f"pulse-{rank:06d}", threading.Event()
    thread = threading.Thread(target=_beat, args=(file, ended), daemon=True, name="tleg-pulse")
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        raise
    ended.set()
    thread.join()
    file.unlink(missing_ok=True)


def _beat(file: Path, ended: threading.Event) -> None:
    temporary = file.with_suffix(f".{os.getpid()}")
    while True:
        with contextlib.suppress(OSError):  # the launcher has gone, and its folder with it
            temporary.write_text(json.dumps(asdict(_now)))
            os.replace(temporary, file)
        if ended.wait(min(1.0, hang_timeout() / 10)):
            return


def read_pulses(folder: Path) -> list[tuple[Pulse, float]]:
    """Every local rank's last pulse, and when it was written, in seconds of time.time()."""
    found = []
    for file in sorted(folder.glob("pulse-??????")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append((Pulse(**json.loads(file.read_text())), file.stat().st_mtime))
    return found
