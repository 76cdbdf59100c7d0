"""A run folder: config.yaml, run.json, plan.json, metrics.jsonl, checkpoints/, the result and summary.json. One run at a time."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tleg_cli.errors import TlegError
from tleg_cli.files import write_text

_locks: dict[Path, IO[str]] = {}  # held open: the system drops a lock when its owner dies


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run, and its lock."""

    path: Path

    @property
    def record(self) -> Path:
        """What decides the result; see identity.py."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def plan(self) -> Path:
        """The effective values: global batch, scaled rate, steps."""
        return self.path / "plan.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    def has_begun(self) -> bool:
        """Whether a run has left a checkpoint or a result here."""
        return self.summary.exists() or any(self.checkpoints.glob("step-*"))

    def lock(self) -> None:
        """Makes the folder and holds it for this process. Raises TlegError if another one holds it."""
        if self.path.resolve() in _locks:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise TlegError(f"can't write in {self.path}: {error.strerror}") from error
        if not _flock(file):
            file.close()
            raise TlegError(f"another run is writing in {self.path}; wait for it, or choose another --out")
        _locks[self.path.resolve()] = file

    def unlock(self) -> None:
        """Lets go of the folder, if this process holds it."""
        file = _locks.pop(self.path.resolve(), None)
        if file is not None:
            file.close()


def _flock(file: IO[str]) -> bool:
    """Tries for two seconds: a run that was just killed holds its lock until the system has cleared it away."""
    for left in reversed(range(20)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.1 if left else 0)
    return False


def is_running(path: Path) -> bool:
    """Whether a process holds the lock of this folder."""
    try:
        with (path / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TlegError(f"{path} can't be read ({error}); choose another --out, or remove the folder") from error
    if not isinstance(content, dict):
        raise TlegError(f"{path} is no record of a run; choose another --out")
    return content


def write_metrics(run: RunFolder, history: Sequence[Mapping[str, Any]]) -> None:
    """One line of JSON for each epoch; always the whole history, so that no crash leaves a line too many or too few."""
    write_text(run.metrics, "".join(json.dumps(record) + "\n" for record in history))


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """The results of a finished run; its presence says that the run is finished."""
    write_text(path, json.dumps(summary, indent=1) + "\n")


def read_summary(path: Path) -> dict[str, Any] | None:
    """The summary of a finished run, None if there is none."""
    return read_json(path) if path.exists() else None
