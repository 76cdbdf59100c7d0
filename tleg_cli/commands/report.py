"""`tleg report`: a training on one page."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; a family's folder, as runs/des.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where the page goes. Default: report.html in the run folder."),
    ] = None,
    json: o.Json = False,
) -> None:
    """Show trainings on a page that is complete in one file: curves, scores, configuration, environment, files.

    Every finished training writes its report.html itself; a run that goes on has what it has reached so far. Several runs
    are compared on one page.

    Example: tleg report runs/small-aux
    """
    from tleg_cli.report.output import print_json, print_line
    from tleg_cli.report.run_page import write_reports

    written = write_reports(runs, out)
    if json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        print_line(str(path))
