"""`tleg compare`: what a learngene saves."""

from math import inf
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

    The three runs must belong together: the family must come from the learngene of --aux, and both families must have
    the same depths, backbone, classes and data.

    Example: tleg compare --aux runs/aux --family runs/des --scratch runs/des-scratch --out runs
    """
    from tleg_cli.errors import ConfigError
    from tleg_cli.inspect.comparison import check_output, compare_runs
    from tleg_cli.report.comparison import plot_comparison, print_comparison
    from tleg_cli.report.output import print_json
    from tleg_cli.training.run_folder import write_summary

    if seconds is not None and not 0 <= seconds < inf:
        raise ConfigError(f"--seconds {seconds} is not a duration; give a number of seconds")
    check_output(out, (aux, family, scratch))
    comparison = compare_runs(aux, family, scratch)
    if seconds is not None:
        comparison["seconds"] = seconds
    write_summary(out / "summary.json", comparison)
    plot_comparison(comparison, out / "comparison.png")
    if json:
        print_json(comparison)
    else:
        print_comparison(comparison)
