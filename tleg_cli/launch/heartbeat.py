"""A rank's sign of life for its launcher: a thread writes every second what the rank is doing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tleg_cli.errors import ConfigError

ERROR_FOLDER = "TLEG_ERROR_FOLDER"  # the launcher's: heartbeats, and the errors that it prints
HANG_TIMEOUT = "TLEG_HANG_TIMEOUT"  # seconds without a sign of life, or without progress, until a rank is killed
DEFAULT_TIMEOUT = 300.0
STARTING = "starting"  # downloads and compilers may take as long as they like if the process lives


@dataclass
class Heartbeat:
    """What a rank reports. changes: how often it has begun something, so that progress shows without comparing clocks."""

    rank: int
    pid: int
    step: int
    doing: str
    changes: int


_now = Heartbeat(0, 0, 0, STARTING, 0)


def report_activity(doing: str, step: int | None = None) -> None:
    """Called by the main thread when it begins something else."""
    _now.doing = doing
    if step is not None:
        _now.step = step
    _now.changes += 1


def hang_timeout() -> float:
    """Seconds, from TLEG_HANG_TIMEOUT; `inf` never kills a rank. Raises ConfigError for anything else than a number."""
    text = os.environ.get(HANG_TIMEOUT, "").strip()
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 1:  # nor is NaN
        raise ConfigError(f"{HANG_TIMEOUT}={text[:40]!r}: write a number of seconds from 1 up, or inf for no limit")
    return seconds


def interval(timeout: float) -> float:
    """Seconds between two heartbeats, and between two looks at them."""
    return min(1.0, timeout / 10)


@contextlib.contextmanager
def heartbeat(rank: int) -> Iterator[None]:
    """Reports this rank to its launcher, if it has one. After an exception its last report stays in the folder."""
    folder = os.environ.get(ERROR_FOLDER)
    if not folder or not Path(folder).is_dir():
        yield
        return
    _now.rank, _now.pid = rank, os.getpid()
    report_activity(STARTING)
    file, ended = Path(folder) / f"heartbeat-{rank:06d}", threading.Event()
    seconds = interval(hang_timeout())
    thread = threading.Thread(target=_beat, args=(file, ended, seconds), daemon=True, name="tleg-heartbeat")
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        raise
    ended.set()
    thread.join()
    file.unlink(missing_ok=True)


def _beat(file: Path, ended: threading.Event, seconds: float) -> None:
    temporary = file.with_suffix(f".{os.getpid()}")
    while True:
        with contextlib.suppress(OSError):  # the launcher has ended, and its folder is gone
            temporary.write_text(json.dumps(asdict(_now)))
            os.replace(temporary, file)
        if ended.wait(seconds):
            return


def read_heartbeats(folder: Path) -> list[tuple[Heartbeat, int]]:
    """Every local rank's last heartbeat, and a number that is another one for every heartbeat."""
    found = []
    for file in sorted(folder.glob("heartbeat-??????")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append((Heartbeat(**json.loads(file.read_text())), file.stat().st_mtime_ns))
    return found
