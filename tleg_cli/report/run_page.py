"""`tleg report`: trainings as one file that a browser shows without a network and without a script. Does not need torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tleg_cli.errors import ConfigError, TlegError, one_line
from tleg_cli.files import write_text
from tleg_cli.inspect.run_record import REPORT, read_runs
from tleg_cli.report.output import shown
from tleg_cli.report.page_template import fill, part
from tleg_cli.report.run_charts import Named
from tleg_cli.report.run_view import page_view

_GENERATOR = "tleg report"
_MARK = f'<meta name="generator" content="{_GENERATOR}">'
_HEAD = 4000  # characters in which a page of ours has its mark


def write_reports(folders: Sequence[Path], out: Path | None = None) -> list[Path]:
    """Writes the report of a run or family into its folder, or one page that compares several; returns what was written.

    A family's descendants get a page each too. out: where the page goes, needed for several folders. Raises ConfigError for
    an `out` that isn't a report, FileFormatError for a folder without a run, TlegError if a file can't be written.
    """
    if out is None and len(folders) > 1:
        raise ConfigError(f"{len(folders)} runs are compared on one page; say where with --out comparison.html")
    if out is not None:
        _refuse_others(out)
    runs: list[Named] = []
    written: list[Path] = []
    for folder, name in zip(folders, _names(folders), strict=True):
        family, found = read_runs(folder)
        named = [Named(_name(run.folder, run.depth, name, family, several=len(folders) > 1), run) for run in found]
        if len(folders) == 1 and family and out is None:
            written += [write for run in found for write in write_reports([run.folder])]
        runs += named
    family_of = folders[0] if len(folders) == 1 and len(runs) > 1 else None
    title = _names(folders)[0] if len(folders) == 1 else f"{len(runs)} trainings"
    target = out or folders[0] / REPORT
    _write(target, page(title, runs, family_of if out is None else None))
    return [target, *written]


def report_finished(folder: Path, say: Callable[[str], None]) -> None:
    """The report at the end of a training. A report that can't be written is reported, and the training counts all the same."""
    try:
        write_reports([folder])
    except (TlegError, OSError) as error:
        say(f"warning: {folder / REPORT} is not up to date: {one_line(error)}")


def page(title: str, runs: Sequence[Named], family: Path | None = None) -> str:
    """The page as text. Names of any kind are escaped; the page can neither load nor send anything."""
    return fill(
        "run.html",
        page=shown(page_view(title, runs, family)),
        generator=_GENERATOR,
        style=part("inspect.css") + part("run.css"),
    )


def _write(path: Path, text: str) -> None:
    """Not again if it is there already: a finished run that is called again changes nothing."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, ValueError):
        pass
    write_text(path, text)


def _refuse_others(out: Path) -> None:
    """Only a report may be replaced."""
    if not out.exists():
        return
    try:
        with out.open(encoding="utf-8") as file:
            ours = _MARK in file.read(_HEAD)
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise ConfigError(f"--out {out} exists and is not a report of tleg; choose another name")


def _names(folders: Sequence[Path]) -> list[str]:
    """What the folders are called, as short as they differ: the last part of the path, or more of it."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    for length in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise ConfigError(f"{paths[0]} is given more than once")


def _name(folder: Path, depth: str | None, name: str, family: bool, *, several: bool) -> str:
    if not family:
        return name
    short = f"depth {depth}" if depth else folder.name
    return f"{name}, {short}" if several else short
