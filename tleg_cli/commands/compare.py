"""`tleg compare`: an any-depth learngene, TLEG as published and separate networks, with what each cost."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World

Aux = Annotated[Path, typer.Option("--aux", help="The run folder of `tleg train-aux`, at several depths.")]
Out = Annotated[Path, typer.Option("--out", help="Where summary.json and comparison.png go.")]
Tleg = Annotated[
    Path | None, typer.Option("--tleg", help="That of a learngene trained as TLEG was published, at one depth.")
]
Separate = Annotated[
    list[Path] | None,
    typer.Option("--separate", help="That of a network trained alone: basis piecewise:L at depth L. May be repeated."),
]
Depth = Annotated[str, typer.Option("--depth", autocompletion=complete.depths, help="Where the learngenes are scored.")]
Data = Annotated[str | None, typer.Option("--data", metavar="DATA", help="Validation images. Default: those of --aux.")]
Seconds = Annotated[float | None, typer.Option("--seconds", help="Recorded in place of the sum of the runs' seconds.")]


def compare(
    aux: Aux,
    out: Out,
    tleg: Tleg = None,
    separate: Separate = None,
    depth: Depth = "2-12,18,24",
    data: Data = None,
    seconds: Seconds = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Compare networks of all depths with no further training: table, summary.json and a plot.

    The runs must belong together: the same data, backbone, augmentation and teacher.

    Example: tleg compare --aux runs/any-depth --tleg runs/tleg --separate runs/alone-06 --out runs/comparison
    """
    from tleg_cli.errors import ConfigError
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.output import print_json

    alone = separate or []
    if seconds is not None and not 0 <= seconds < inf:
        raise ConfigError(f"--seconds {seconds} is not a duration; give a number of seconds")

    def score(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.inspect.comparison import check_output, compare_runs
        from tleg_cli.learngene.depths import parse_depths

        check_output(out, [run for run in (aux, tleg, *alone) if run])
        return compare_runs(aux, tleg, alone, parse_depths(depth), data, world, screen.say)

    def report(comparison: Any) -> None:
        from tleg_cli.report.comparison import plot_comparison, print_comparison
        from tleg_cli.training.run_folder import write_summary

        if seconds is not None:
            comparison["seconds"] = seconds
        write_summary(out / "summary.json", comparison)
        plot_comparison(comparison, out / "comparison.png")
        if json:
            print_json(comparison)
        else:
            print_comparison(comparison)

    in_processes(Processes(1, pick_device(device, 1)), None, (), score, report)
