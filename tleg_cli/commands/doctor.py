"""`tleg doctor`: what this machine has, ready to paste into a bug report; or whether a data file is intact."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.beton]", help="Check this data file: decode every image.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Show versions, FFCV, CUDA and plugins for a bug report, or check a data file that `tleg prepare` wrote.

    Example: tleg doctor /fast/imagenet/train.beton
    """
    from tleg_cli.report.output import print_facts, print_json

    if file is None:
        from tleg_cli.inspect.machine import machine_facts

        facts = machine_facts()
    else:
        from dataclasses import asdict

        from tleg_cli.data.ffcv.verify import verify_beton

        facts = asdict(verify_beton(file))
    if json:
        print_json(facts)
    else:
        print_facts(str(file or "tleg doctor"), facts)
