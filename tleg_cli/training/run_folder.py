"""A run folder: config.yaml, run.json, plan.json, metrics.jsonl, checkpoints/, the result and summary.json. One run at a time."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tleg_cli.errors import ConfigError, TlegError
from tleg_cli.files import remove_leftovers, write_text

_locks: dict[Path, IO[str]] = {}  # held open: the system drops a lock when its owner dies


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

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


def check_run(path: Path, identity: Mapping[str, Any], allow_changed: Sequence[str] = ()) -> None:
    """Locks `path` if a run has begun there, which must be this one. See open_run; nothing is written."""
    run = RunFolder(path)
    if run.summary.exists() or any(run.checkpoints.glob("step-*")):  # else there is nothing to lose
        _lock(path)
        _check_same(path, _read_json(path / "run.json"), identity, allow_changed)


def open_run(path: Path, identity: Mapping[str, Any], config_yaml: str, allow_changed: Sequence[str] = ()) -> RunFolder:
    """Locks `path` for this process and writes what the run is; a run that has begun there must be the same one.

    identity: plain values that decide the result (config, inputs, processes). allow_changed: dotted keys, or their
    beginnings, that may differ. Raises ConfigError with every difference, TlegError if another process runs here.
    """
    _lock(path)
    remove_leftovers(path)
    check_run(path, identity, allow_changed)
    write_text(path / "run.json", json.dumps(identity, indent=1) + "\n")
    write_text(path / "config.yaml", config_yaml)
    return RunFolder(path)


def _lock(path: Path) -> None:
    if path.resolve() in _locks:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / ".lock").open("w")
    except OSError as error:
        raise TlegError(f"can't write in {path}: {error.strerror}") from error
    if not _flock(file):
        file.close()
        raise TlegError(f"another run is writing in {path}; wait for it, or choose another --out")
    _locks[path.resolve()] = file


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TlegError(f"{path} can't be read ({error}); choose another --out, or remove the folder") from error
    if not isinstance(content, dict):
        raise TlegError(f"{path} is no record of a run; choose another --out")
    return content


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], allowed: Sequence[str]) -> None:
    before, now = _flat(old), _flat(new)
    changed = [key for key in sorted(set(before) | set(now)) if before.get(key) != now.get(key)]
    refused = [
        key
        for key in changed
        if not any(key == name or f".{key}".endswith(f".{name}") or key.startswith(f"{name}.") for name in allowed)
    ]
    if refused:
        lines = ", ".join(f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in refused)
        raise ConfigError(
            f"{path} holds a run with other settings ({lines}); choose another --out, or --allow-changed {refused[0]}"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_metrics(run: RunFolder, history: Sequence[Mapping[str, Any]]) -> None:
    """One line of JSON for each epoch; always the whole history, so that no crash leaves a line too many or too few."""
    write_text(run.metrics, "".join(json.dumps(record) + "\n" for record in history))


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """The results of a finished run; its presence says that the run is finished."""
    write_text(path, json.dumps(summary, indent=1) + "\n")


def read_summary(path: Path) -> dict[str, Any] | None:
    """The summary of a finished run, None if there is none."""
    return _read_json(path) if path.exists() else None
