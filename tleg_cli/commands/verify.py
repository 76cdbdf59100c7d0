"""`tleg verify`: whether a run folder is intact."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def verify(
    run: Annotated[Path, typer.Argument(help="The run folder of a training, or of a family.")],
    json: o.Json = False,
) -> None:
    """Check a run folder: config, metrics, hashes of all checkpoints, and that the results load.

    The exit code is 1 if something is broken. A run that is not finished is not broken.

    Example: tleg verify runs/small-aux
    """
    from dataclasses import asdict

    from tleg_cli.errors import FileFormatError
    from tleg_cli.inspect.verify_run import broken, verify_run
    from tleg_cli.report.output import print_json, print_table

    findings = verify_run(run)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(str(run), ["part", "state", ""], [[f.part, f.state, f.what] for f in findings])
    if bad := broken(findings):
        raise FileFormatError(
            f"{len(bad)} of {len(findings)} parts of {run} are broken; the first is {bad[0].part}: {bad[0].what}"
        )
