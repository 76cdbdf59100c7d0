"""The folder of a comparison: protocol.json, teachers/, sources/, and cells/METHOD/depth-06/seed-0/result.json.

Every file appears complete or not at all, so that a comparison that was killed goes on from the cells that are there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict, cast

from tleg_cli.errors import ConfigError, FileFormatError, TlegError
from tleg_cli.files import write_text
from tleg_cli.lab.latency import Latency
from tleg_cli.lab.plan import ORIGINAL, make_cells
from tleg_cli.lab.record import changes, is_allowed, record_of
from tleg_cli.lab.study import Cell, Study
from tleg_cli.models.descendant import descendant_folder

RECORD = "protocol.json"  # of what is compared
RESULT = "result.json"  # of a cell
_FIXED = (
    "format",
    "images",
    "config.backbone",
    "config.data",
    "config.augmentation",
    "config.teacher",
)  # no row would be right
LATENCY = "latency.json"
CONVERGED = "converged"  # the part with the longer budget
_SHOWN = 6  # differences that a message lists


class Row(TypedDict, total=False):
    """A network of the comparison, one line of results.jsonl. Scores are top-1 in percent on the test images."""

    method: str
    depth: str
    seed: int
    status: str  # done or failed
    error: str
    start: float | None  # as initialised; null for fresh weights
    epoch_1: float | None  # after one epoch of its own training; null if it has none
    top1: float  # at the end of the budget
    epochs: list[float]  # after every epoch of its own training
    source_block_images: int  # of the training that all depths of the method share
    mixing_block_images: int  # of its own training, the part for coefficients alone; older rows don't have it
    block_images: int  # of its own training
    epoch_block_images: int  # of one epoch of it; 0 if it has none
    parameters: int
    source_parameters: int  # stored for the source; 0 without
    trained: bool  # whether it has a training of its own, so that its parameters have to be stored
    source_seconds: float
    seconds: float
    warnings: list[str]
    tleg: str  # the version that made it
    made_by: str  # a digest of what decides it (made_by.py); older rows have neither


@dataclass(frozen=True)
class LabFolder:
    """Where everything of one comparison is. root: of the comparison that it is a part of, whose teachers and originals it has."""

    path: Path
    root: Path | None = None

    def part(self, name: str) -> LabFolder:
        """The same comparison at other settings, with the same teachers and originals."""
        return LabFolder(self.path / name, self.root or self.path)

    def teacher(self, seed: int) -> Path:
        own = self.path / "teachers" / f"seed-{seed}"  # parts had teachers of their own before
        return own if self.root is None or own.exists() else self.root / "teachers" / f"seed-{seed}"

    def source(self, name: str, seed: int) -> Path:
        place = self.root if self.root is not None and name.startswith(f"{ORIGINAL}-") else self.path
        return place / "sources" / name / f"seed-{seed}"

    def cell(self, cell: Cell) -> Path:
        return self.path / "cells" / cell.method.name / descendant_folder(cell.depth) / f"seed-{cell.seed}"

    def row(self, cell: Cell) -> Row | None:
        """The result of a cell; None if it has none, or one of other settings. Raises FileFormatError for a damaged file."""
        file = self.cell(cell) / RESULT
        row = _read_row(file) if file.exists() else None
        return None if row is None or row.get("made_by", cell.made_by) != cell.made_by else row

    def all_rows(self, study: Study) -> list[Row]:
        """Every result of the protocol's methods and depths, in their order, of all seeds that there are.

        Those of other settings are left out.
        """
        rows: list[Row] = []
        for method in study.methods:
            found = (self.path / "cells" / method.name).glob(f"*/seed-*/{RESULT}")
            seeds = sorted({_read_row(file)["seed"] for file in found})
            cells = make_cells(study, [method.name], study.depths, seeds)
            by_depth = sorted(cells, key=lambda cell: (study.depths.index(cell.depth), cell.seed))
            rows += [row for cell in by_depth if (row := self.row(cell)) is not None]
        return rows

    def write_results(self, rows: Sequence[Row], tables: Mapping[str, str]) -> None:
        """results.jsonl, one row a line, and tables by their names."""
        write_text(self.path / "results.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
        for name, text in tables.items():
            write_text(self.path / name, text)

    def latency(self) -> Latency | None:
        """What was measured on the machine that measured it last."""
        file = self.path / LATENCY
        if not file.exists():
            return None
        try:
            return Latency.read(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileFormatError(
                f"{file} can't be read ({error!r}); delete it, and measure again with --latency"
            ) from None

    def write_latency(self, latency: Latency) -> None:
        write_text(self.path / LATENCY, json.dumps(asdict(latency), indent=1) + "\n")

    def write_row(self, cell: Cell, row: Row) -> None:
        write_text(self.cell(cell) / RESULT, json.dumps(row, indent=1) + "\n")

    def remove_row(self, cell: Cell) -> None:
        """Of a cell that failed, so that it is tried again."""
        (self.cell(cell) / RESULT).unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Only one process at a time, of this machine or of others that share the folder; the others wait, or get False."""
        locks = (self.root or self.path) / "locks"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            locks.mkdir(parents=True, exist_ok=True)
            lock = (locks / name).open("a")
        except OSError as error:
            raise TlegError(f"can't write in {self.path}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def claim(self, study: Study, allowed: Sequence[str] = ()) -> list[str]:
        """Records what is compared here; returns what to say of an older version. allowed: dotted keys, or their beginnings, that
        may differ from what was compared here before: rows that they decide are made again.

        Methods and seeds may be added later: every one has results of its own. Raises ConfigError with every other difference.
        """
        now = json.loads(json.dumps(record_of(study)))
        file = self.path / RECORD
        with self.alone("protocol"):
            try:
                before = json.loads(file.read_text(encoding="utf-8"))
                methods = {**before["methods"], **now["methods"]}
            except FileNotFoundError:
                before, methods = now, now["methods"]
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise FileFormatError(f"{file} can't be read ({error!r}); choose another --out") from None
            changed = changes(before, now, study)
            refused = {
                key: line for key, line in changed.items() if not is_allowed(key, allowed) or key.startswith(_FIXED)
            }
            if refused:
                raise ConfigError(self._refusal(refused))
            if changed:
                self._set_aside(changed)
            write_text(file, json.dumps({**now, "methods": methods}, indent=1) + "\n")
        version = before.get("tleg")
        return [f"{self.path} has results of tleg {version}; they are kept"] if version != now["tleg"] else []

    def _refusal(self, refused: Mapping[str, str]) -> str:
        lines = [
            f"{key}: {line}" for key, line in sorted(refused.items(), key=lambda item: not item[0].startswith(_FIXED))
        ]
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        keys = " ".join(f"--allow-changed {key}" for key in dict.fromkeys(key.split(".")[0] for key in refused))
        text = f"{self.path} holds another comparison ({'; '.join(lines[:_SHOWN])}{more}); choose another --out"
        if any(key.startswith(_FIXED) for key in refused):
            return text
        return f"{text}, or keep the rows that are still right and make the others again with {keys}"

    def _set_aside(self, changed: Mapping[str, str]) -> None:
        """Renames results that don't say what made them (tleg before 0.2), if the changes are not of another method alone."""
        of_methods = {key.split(".")[1] for key in changed if key.startswith("methods.")}
        of_all = any(not key.startswith("methods.") for key in changed)
        for file in (self.path / "cells").glob(f"*/*/*/{RESULT}"):
            row = _read_row(file)
            if "made_by" not in row and (of_all or row["method"] in of_methods):
                file.rename(file.with_name(f"old-{RESULT}"))

    def clear(self, cell: Cell) -> None:
        """Removes what an earlier protocol or a method since changed left of a cell, and records what makes it now."""
        place, mark = self.cell(cell), self.cell(cell) / "made_by"
        if mark.exists() and mark.read_text(encoding="utf-8") != cell.made_by:
            shutil.rmtree(place)
        write_text(mark, cell.made_by)


def _read_row(file: Path) -> Row:
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{file} can't be read ({error}); delete it to run this cell again") from None
    if not isinstance(row, dict) or row.get("status") not in ("done", "failed"):
        raise FileFormatError(f"{file} is not a result of tleg lab; delete it to run this cell again")
    return cast(Row, row)
