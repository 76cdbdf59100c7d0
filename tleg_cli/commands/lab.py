"""`tleg lab`: ways to initialise a family of depths, compared at equal compute."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import command_line, pick_device
from tleg_cli.errors import ConfigError, TlegError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tleg_cli.lab.folder import LabFolder, Row
    from tleg_cli.lab.run import Told
    from tleg_cli.lab.study import Cell, Study


Protocol = Annotated[
    str | None,
    typer.Argument(
        autocompletion=complete.protocols,
        help="A protocol that comes with tleg (digits, mnist5k, fashion, ...), or a file.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="The folder of results. Default: runs/lab-PROTOCOL, or runs/tune-PROTOCOL."
    ),
]
ListMethods = Annotated[bool, typer.Option("--list", help="Show the methods, and leave.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="method=A,B", help="Only these methods, or with depth=3,6 these depths."),
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", metavar="0-4", help="Other seeds than the protocol's, as in 0-4 or 0,3.")
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", min=1, metavar="N", help="Processes that train cells, with one thread each on a CPU."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the cost of every cell, and leave.")]
PrintCommands = Annotated[bool, typer.Option("--print-commands", help="Show a command for every cell, and leave.")]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="Try half, equal and double rates on held-out training images; writes OUT/tuned.yaml, a protocol.",
    ),
]
Report = Annotated[bool, typer.Option("--report", help="Show the results that are there, and leave.")]
Latency = Annotated[
    bool, typer.Option("--latency", help="Also measure how long a network of each depth takes on this machine.")
]


def lab(
    protocol: Protocol = None,
    out: Out = None,
    list_methods: ListMethods = False,
    only: OnlyOption = None,
    seeds: Seeds = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    print_commands: PrintCommands = False,
    tune: Tune = False,
    settings: o.Settings = None,
    allow_changed: o.AllowChanged = None,
    report: Report = False,
    latency: Latency = False,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Compare ways to initialise networks of several depths, at equal compute.

    Every method gets the same number of block-images (images x blocks, forward and backward) for all depths together, what it
    trains first included. A cell is one network: a method, a depth, a seed. Finished cells are skipped when the command is run
    again; several commands may work in one folder. Writes results.jsonl, .csv, .tex and .html, which is a page with plots.

    Example: tleg lab digits --out runs/lab --jobs 2
    """
    from tleg_cli.report.output import print_json, print_line

    if list_methods:
        _list(json)
        return
    if protocol is None:
        raise ConfigError("give a protocol, as in `tleg lab digits`; `tleg lab --list` shows the methods")
    from tleg_cli.lab.choose import choose, longer, open_study
    from tleg_cli.lab.folder import CONVERGED, RECORD, LabFolder

    assume = partial(_say, "note: ") if dry_run or print_commands else None
    study = open_study(protocol, settings or (), assume)
    folder = LabFolder(out or Path("runs") / f"{'tune' if tune else 'lab'}-{Path(protocol).stem}")
    parts = [(study, choose(study, only or (), seeds), folder)]
    if (long := longer(study)) is not None:
        parts.append((long, choose(long, only or (), seeds), folder.part(CONVERGED)))
    cells = parts[0][1]
    if dry_run:
        _print_costs([(one, chosen) for one, chosen, _ in parts], as_json=json)
        return
    if print_commands:
        for cell in cells:
            print_line(_command(protocol, cell, folder.path, device, settings or ()))
        return
    place = pick_device(device, 1)
    if tune:
        _tune(study, cells, folder.path, place, jobs, as_json=json)
        return
    if report and not (folder.path / RECORD).exists():
        raise ConfigError(f"{folder.path} has no results; leave out --report to make them")
    rows: list[Row] = []
    for one, chosen, part in parts[:1] if report else parts:
        for note in part.claim(one, allow_changed or ()):
            _say("note: ", note)
        if not report:
            rows += _run(one, chosen, part, place, jobs)
    if latency:
        from tleg_cli.lab.latency import measure

        folder.write_latency(measure(study, place))
    document = _report(study, folder, protocol, as_json=json)
    if json:
        print_json(document)
    _check_rows(rows)


def _print_costs(parts: "Sequence[tuple[Study, Sequence[Cell]]]", *, as_json: bool) -> None:
    """Of the protocol and, if it has one, of its longer training."""
    from tleg_cli.lab.choose import trained_block_images
    from tleg_cli.report.lab_table import costs_of, print_costs
    from tleg_cli.report.output import print_json

    costs = [costs_of(cells) for _, cells in parts]
    if as_json:
        print_json({"budget": parts[0][0].block_images, "cells": costs[0], "converged": [*costs, []][1]})
        return
    for (study, cells), cost in zip(parts, costs, strict=True):
        print_costs(cost, study.block_images, trained_block_images(cells))


def _check_rows(rows: "Sequence[Row]") -> None:
    """Raises TlegError if a cell failed."""
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        first = failed[0]
        raise TlegError(
            f"{len(failed)} of {len(rows)} cells failed, the first {first['method']} depth {first['depth']} seed {first['seed']}: "
            f"{first['error']}"
        )


def _run(study: "Study", cells: "Sequence[Cell]", folder: "LabFolder", device: str, jobs: int) -> "list[Row]":
    from tleg_cli.lab.run import run_cells

    return run_cells(study, cells, folder, device, jobs, _progress(len(cells)))


def _progress(number: int) -> "Told":
    """A line on stderr for every cell that is finished, and every half minute."""
    from tleg_cli.lab.run import Told

    done: list[str] = []

    def finished(cell: "Cell", row: "Row") -> None:
        done.append(cell.name)
        score = f"{row['top1']:.1f} %" if row["status"] == "done" else f"failed: {row['error']}"
        _say("", f"{len(done)} of {number}: {cell.name}: {score}")

    return Told(finished, partial(_say, ""))


def _say(prefix: str, line: str) -> None:
    typer.echo(printable(f"{prefix}{line}"), err=True)


def _tune(study: "Study", cells: "Sequence[Cell]", out: Path, device: str, jobs: int, *, as_json: bool) -> None:
    from dataclasses import asdict

    from tleg_cli.lab.tune import FACTORS, tune
    from tleg_cli.report.lab_table import print_trials
    from tleg_cli.report.output import print_json

    methods = list(dict.fromkeys(cell.method.name for cell in cells))
    depths = list(dict.fromkeys(cell.depth for cell in cells))
    told = _progress(len(FACTORS) * len(methods) * len(depths))
    trials, tuned = tune(study, methods, depths, out, device, jobs, told)
    if as_json:
        print_json({"protocol": str(tuned), "trials": [asdict(trial) for trial in trials]})
    else:
        print_trials(trials, tuned)
    failed = [trial for trial in trials if trial.top1 is None]
    if failed:
        raise TlegError(
            f"{len(failed)} of {len(trials)} trials failed, the first {failed[0].method} with {failed[0].factor:g} times its rates; "
            "the lines above say why, and the same command tries them again"
        )


def _list(as_json: bool) -> None:
    from tleg_cli import plugin_manager
    from tleg_cli.report.output import print_json, print_table

    methods = sorted(plugin_manager.initialisers().values(), key=lambda method: method.name)
    if as_json:
        print_json({method.name: {"about": method.about, "paper": method.paper} for method in methods})
    else:
        rows = [[method.name, method.about, method.paper.removeprefix("https://")] for method in methods]
        print_table("methods", ["name", "about", "paper"], rows)


def _command(protocol: str, cell: "Cell", out: Path, device: str, settings: "Sequence[str]") -> str:
    """What runs one cell, and its source if it isn't there yet."""
    from tleg_cli.learngene.depths import format_depth

    only = f"method={cell.method.name} --only depth={format_depth(cell.depth)}".split()
    changed = [word for setting in settings for word in ("--set", setting)]
    options = {"out": out, "seeds": cell.seed, "device": None if device == "auto" else device}
    return command_line("lab", protocol, "--only", *only, *changed, **options)


def _report(study: "Study", folder: "LabFolder", protocol: str, *, as_json: bool) -> dict[str, object]:
    """Writes the results of every finished cell of the protocol's methods, whatever this command ran, and prints the table."""
    from dataclasses import asdict

    from tleg_cli.lab.break_even import break_evens
    from tleg_cli.lab.choose import longer
    from tleg_cli.lab.folder import CONVERGED
    from tleg_cli.lab.results import lines_of
    from tleg_cli.learngene.depths import format_depth
    from tleg_cli.report.lab_page import lab_page
    from tleg_cli.report.lab_table import lab_csv, lab_latex, print_lab, print_latency

    rows = folder.all_rows(study)
    depths = [format_depth(depth) for depth in study.depths]
    long, latency = longer(study), folder.latency()
    converged = folder.part(CONVERGED).all_rows(long) if long else []
    methods = [method.name for method in study.methods]
    lines = lines_of(rows, methods, depths, converged)
    page = lab_page(study, Path(protocol).stem, lines, rows, latency)
    evens = {one.method: one.depths for one in break_evens(rows, methods, depths)}
    tables = {
        "results.csv": lab_csv(lines, depths, evens),
        "results.tex": lab_latex(lines, depths),
        "results.html": page,
    }
    folder.write_results(rows, tables)
    if not as_json:
        print_lab(lines, depths, f"{protocol}: {study.protocol.compute}")
        if latency is not None:
            print_latency(latency)
    return {
        "protocol": study.protocol.model_dump(mode="json"),
        "lines": [asdict(line) for line in lines],
        "rows": rows,
        "converged": converged,
        "break_even": evens,
        "latency": None if latency is None else asdict(latency),
    }
