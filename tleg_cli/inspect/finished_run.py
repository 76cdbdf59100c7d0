"""The files of a finished run as `tleg compare` needs them: read within bounds, every value of its type."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tleg_cli.errors import ConfigError, FileFormatError, first_line
from tleg_cli.files import open_regular
from tleg_cli.learngene.depths import parse_depths

_MAX_BYTES = 50_000_000  # of a summary; thousands of epochs take less than one
_WHAT = {
    "aux": "a run of `tleg train-aux`",
    "teacher": "a run of `tleg train-teacher`",
    "descendant": "one descendant (give the folder above it)",
    "family": "a run of `tleg train-des`",
}


@dataclass(frozen=True)
class FinishedRun:
    """summary, record: summary.json and run.json of the folder; the record is empty where there is none."""

    folder: Path
    summary: Mapping[str, Any]
    record: Mapping[str, Any]

    def depth(self, entry: Mapping[str, Any]) -> str:
        """As `format_depth` writes it."""
        value = entry.get("depth")
        try:
            valid = isinstance(value, str) and len(parse_depths(value)) == 1
        except ConfigError:
            valid = False
        if not valid:
            raise self._wrong("depth", value)
        return str(value)

    def count(self, entry: Mapping[str, Any], key: str) -> int:
        """A whole number above 0."""
        value = entry.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 10**15:
            raise self._wrong(key, value)
        return value

    def plan(self, key: str) -> int:
        """A value of the run's budget, as in epochs."""
        plan = self.summary.get("plan")
        return self.count(plan if isinstance(plan, Mapping) else {}, key)

    def score(self, entry: Mapping[str, Any], key: str) -> float | None:
        """None for what a run never measured, and for NaN or infinity."""
        return self._number(key, entry.get(key))

    def _number(self, key: str, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value)
        return value if math.isfinite(value) else None

    def _wrong(self, key: str, value: Any) -> FileFormatError:
        return FileFormatError(
            f"{self.folder / 'summary.json'}: {key} is {brief(value)}, which tleg never writes; run its command again"
        )


def open_run_of(folder: Path, option: str, kind: str) -> FinishedRun:
    """A finished run. Raises FileFormatError if there is none that can be read, ConfigError for a run of another kind."""
    summary = read_object(folder / "summary.json", folder)
    if summary.get("kind") != kind:
        found = _WHAT.get(str(summary.get("kind")), "not a run of tleg")
        raise ConfigError(f"{option} {folder} is {found}; it must be {_WHAT[kind]}")
    record = folder / "run.json"
    return FinishedRun(folder, summary, read_object(record, folder) if record.exists() else {})


def read_object(path: Path, folder: Path) -> dict[str, Any]:
    """A JSON object. Raises FileFormatError in one line for anything else."""
    if not path.exists():
        raise FileFormatError(
            f"{folder} does not hold a finished run (no {path.name}); run its command again to finish it"
        )
    try:
        with open_regular(path) as file:
            content = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise FileFormatError(f"{path} can't be read: {reason}; run its command again") from None
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} is not a JSON object, as tleg writes it; run its command again")
    return content


def brief(value: Any) -> str:
    """A value in a message: as JSON, and not too long."""
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
