"""`tleg compare`: what a learngene buys."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def compare(
    aux: Annotated[Path, typer.Option("--aux", help="The run folder of `tleg train-aux`.")],
    family: Annotated[Path, typer.Option("--family", help="The run folder of `tleg train-des`.")],
    scratch: Annotated[
        Path, typer.Option("--scratch", help="That of `tleg train-des --init scratch`, at the same depths.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Where summary.json and comparison.png go.")],
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Recorded in place of the sum of the runs' seconds.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Compare descendants with the same networks from scratch: a table, summary.json and a plot.

    Example: tleg compare --aux runs/aux --family runs/des --scratch runs/des-scratch --out runs
    """
    from tleg_cli.errors import TlegError
    from tleg_cli.report.family import compare_families, plot_comparison, print_comparison
    from tleg_cli.report.summary import print_json
    from tleg_cli.training.run_folder import read_summary, write_summary

    summaries = []
    for folder in (aux, family, scratch):
        found = read_summary(folder / "summary.json")
        if found is None:
            raise TlegError(f"{folder} holds no finished run (no summary.json); run its command again to finish it")
        summaries.append(found)
    summary = compare_families(*summaries)
    if seconds is not None:
        summary["seconds"] = seconds
    write_summary(out / "summary.json", summary)
    plot_comparison(summary, out / "comparison.png")
    if json:
        print_json(summary)
    else:
        print_comparison(summary)
