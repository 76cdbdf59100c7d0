"""What a run folder says about its training, as plain checked values: config, metrics, results, environment. For `tleg report`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tleg_cli.errors import FileFormatError, TlegError
from tleg_cli.files import file_hash, open_regular
from tleg_cli.inspect.finished_run import read_object
from tleg_cli.training.lock import CHECKPOINTS
from tleg_cli.weights.read_header import read_header

REPORT = "report.html"
_MAX_BYTES = 200_000_000  # of metrics.jsonl; a line each step of a long training takes a tenth of it
_NOT_LISTED = (REPORT,)

Values = Mapping[str, Any]


@dataclass(frozen=True)
class RunFile:
    """sha256: of its bytes. recorded: what the summary says that it must be, None for files that it doesn't name."""

    name: str
    size: int
    sha256: str
    recorded: str | None


@dataclass(frozen=True)
class RunRecord:
    """One training. epochs: the records after each epoch (and before the first step); steps: those between them.

    identity: run.json. plan: plan.json. summary: empty until the run is finished. unreadable: torn lines of metrics.jsonl.
    """

    folder: Path
    identity: Values
    plan: Values
    summary: Values
    epochs: list[Values]
    steps: list[Values]
    unreadable: int
    config: str
    environment: Mapping[str, str]
    files: list[RunFile]
    checkpoints: tuple[int, int] = (0, 0)  # how many, and their bytes
    problems: list[str] = field(default_factory=list)

    @property
    def depth(self) -> str | None:
        """Of a descendant or an aux net, as the command line writes it."""
        value = self.identity.get("depth")
        return value if isinstance(value, str) else None


def read_runs(folder: Path) -> tuple[bool, list[RunRecord]]:
    """(whether it is a family, its trainings): the run in a folder, or those of a family's depth-* folders, the shallowest first.

    Raises FileFormatError for a folder that holds neither.
    """
    if is_run(folder):
        return False, [read_run(folder)]
    members = [one for one in folder.glob("depth-*") if is_run(one)]
    if not members:
        raise FileFormatError(f"{folder} is not a run folder: it has neither run.json nor depth-*/run.json")
    order = sorted(members, key=lambda one: [int(part) for part in one.name.split("-") if part.isdigit()])
    return True, [read_run(one) for one in order]


def is_run(folder: Path) -> bool:
    """Whether a training began in this folder."""
    return (folder / "run.json").is_file()


def read_run(folder: Path) -> RunRecord:
    """One run, finished or not. What is damaged is left out and named in `problems`; only run.json must be there.

    Raises FileFormatError for a run.json that can't be read.
    """
    problems: list[str] = []
    identity = read_object(folder / "run.json", folder)
    plan, summary = (_optional(folder / name, folder, problems) for name in ("plan.json", "summary.json"))
    epochs: list[Values] = []
    steps: list[Values] = []
    unreadable = 0
    for record in _lines(folder / "metrics.jsonl", problems):
        if record is None or number_of(record, "step") is None:
            unreadable += 1
        else:
            (steps if record.get("kind") == "step" else epochs).append(record)
    return RunRecord(
        folder,
        identity,
        plan,
        summary,
        epochs,
        steps,
        unreadable,
        _text(folder / "config.yaml", problems),
        _environment(folder, summary, identity),
        _files(folder, summary, problems),
        _checkpoints(folder / CHECKPOINTS),
        problems,
    )


def number_of(values: Values, key: str) -> float | None:
    """A number that can be drawn; None for what is missing, not finite, or anything else."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e15 else None  # NaN is not


def scores_by_depth(record: Values) -> dict[str, float]:
    """top1_at of a record or a summary: top-1 in percent at further depths."""
    found = record.get("top1_at")
    if not isinstance(found, Mapping):
        return {}
    known = {str(depth): number_of(found, depth) for depth in found}
    return {depth: score for depth, score in known.items() if score is not None}


def flat(values: Values, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"data": {"path": ...}}` as `("data.path", ...)`."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _optional(path: Path, folder: Path, problems: list[str]) -> Values:
    if not path.exists():
        return {}
    try:
        return read_object(path, folder)
    except FileFormatError as error:
        problems.append(str(error))
        return {}


def _lines(path: Path, problems: list[str]) -> Iterator[Values | None]:
    """Each line as an object, None for what isn't one."""
    for line in _text(path, problems).splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield value if isinstance(value, dict) else None


def _text(path: Path, problems: list[str]) -> str:
    if not path.exists():
        return ""
    try:
        with open_regular(path) as file:
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError as error:
        problems.append(f"{path} can't be read: {error.strerror or error}")
        return ""


def _environment(folder: Path, summary: Values, identity: Values) -> dict[str, str]:
    """Of the machine that trained it: what the result's file says, and how the run was started."""
    found = {key: str(identity[key]) for key in ("device", "processes") if key in identity}
    name = summary.get("file")
    if not isinstance(name, str):
        return found
    try:
        header = read_header(folder / Path(name).name).tleg
    except (TlegError, OSError, ValueError):  # the name may be anything
        return found
    metadata = header.get("metadata")
    facts: Any = (metadata if isinstance(metadata, Mapping) else header).get("provenance")
    facts = facts if isinstance(facts, Mapping) else {}
    facts = facts["training"] if isinstance(facts.get("training"), Mapping) else facts
    versions = facts.get("versions")
    return {
        **found,
        **({str(key): str(value) for key, value in versions.items()} if isinstance(versions, Mapping) else {}),
        **{key: str(facts[key]) for key in ("command", "created") if key in facts},
    }


def _checkpoints(folder: Path) -> tuple[int, int]:
    """How many, and their bytes. A run that goes on may remove one meanwhile."""
    found, total = 0, 0
    for path in folder.glob("step-*"):
        with suppress(OSError):
            total += sum(file.stat().st_size for file in path.iterdir())
            found += 1
    return found, total


def _files(folder: Path, summary: Values, problems: list[str]) -> list[RunFile]:
    """The files of the folder itself; checkpoints come and go."""
    recorded = summary.get("sha256")
    hashes = recorded if isinstance(recorded, Mapping) else {}
    found = []
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_LISTED or path.name.startswith(".") or path.is_symlink() or not path.is_file():
            continue
        try:
            expected = hashes.get(path.name)
            found.append(RunFile(path.name, path.stat().st_size, file_hash(path), expected and str(expected)))
        except OSError as error:
            problems.append(f"{path} can't be read: {error.strerror or error}")
    return found
