"""A run folder: config.yaml, run.json, plan.json, metrics.jsonl, checkpoints/, the result and summary.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tleg_cli.errors import FileFormatError, TlegError
from tleg_cli.files import file_hash, write_text
from tleg_cli.training.lock import CHECKPOINTS
from tleg_cli.training.records import EpochRecord, StepRecord, Summary, problem_of_summary


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

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
        return self.path / CHECKPOINTS

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
        return self.summary.exists() or any(
            path.name.removeprefix("step-").isdigit() for path in self.checkpoints.glob("step-*")
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises TlegError in one line for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TlegError(f"{path} is missing; restore it, choose another --out, or delete the folder") from error
    except (OSError, ValueError, RecursionError) as error:
        raise TlegError(
            f"{path} can't be read ({error}); restore it, choose another --out, or delete the folder"
        ) from error
    if not isinstance(content, dict):
        raise TlegError(f"{path} does not hold a JSON object; restore it, choose another --out, or delete the folder")
    return content


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """The results of a finished run; its presence says that the run is finished."""
    write_text(path, json.dumps(summary, indent=1) + "\n")


def read_summary(path: Path) -> Summary | None:
    """The summary of a finished training, None if there is none. Raises TlegError for values of wrong types."""
    if not path.exists():
        return None
    content = read_json(path)
    problem = problem_of_summary(content)
    if problem:
        raise FileFormatError(f"{path}: {problem}; remove it, and the same command writes it again from the checkpoint")
    return cast(Summary, content)


def damaged_results(folder: Path, summary: Summary) -> list[str]:
    """One line for each result of a finished run that is missing or has changed since it was written."""
    hashes: Mapping[str, str | None] = summary.get("sha256") or {summary["file"]: None}
    lines = []
    for name, expected in hashes.items():
        file = folder / Path(name).name
        if not file.is_file():
            lines.append(f"{file.name} is missing")
        elif expected is not None and file_hash(file) != expected:
            lines.append(f"{file.name} has changed since it was written")
    return lines


def write_metrics(folder: RunFolder, history: Sequence[EpochRecord], steps: Sequence[StepRecord] = ()) -> bool:
    """All records by step, one JSON object a line. Always the complete file, so that no crash leaves a line too many or too few.

    Returns whether the file was another one before.
    """
    lines: list[EpochRecord | StepRecord] = sorted([*steps, *history], key=lambda record: record.get("step", 0))
    text = "".join(json.dumps(record) + "\n" for record in lines)
    try:
        changed = folder.metrics.read_text(encoding="utf-8") != text
    except (OSError, ValueError):
        changed = True
    if changed:
        write_text(folder.metrics, text)
    return changed


def append_step(folder: RunFolder, record: StepRecord) -> None:
    """Adds a line for whoever follows the file; the next checkpoint writes the complete file again."""
    line = (json.dumps(record) + "\n").encode()
    try:
        descriptor = os.open(
            folder.metrics, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
        )
    except OSError:  # a link, or a folder that is gone: the next checkpoint notices it
        return
    try:
        os.write(descriptor, line)
    except OSError as error:
        raise TlegError(f"can't write {folder.metrics}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def read_steps(folder: RunFolder, upto: int) -> list[StepRecord]:
    """The step records of metrics.jsonl up to a step; lines that a killed run left torn are passed over."""
    try:
        lines = folder.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [record for record in _step_records(lines) if record["step"] <= upto]


def _step_records(lines: Iterable[str]) -> Iterable[StepRecord]:
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("kind") == "step" and type(record.get("step")) is int:
            yield cast(StepRecord, record)
