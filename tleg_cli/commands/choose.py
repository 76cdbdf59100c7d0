"""`tleg choose`: the depth for a latency, a size or an accuracy, measured on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import command_line, pick_device

if TYPE_CHECKING:
    from tleg_cli.deploy.choice import Limits

_LONGEST = 3600  # seconds

Model = Annotated[Path, typer.Argument(help="A learngene, or a folder of descendants, as in runs/des.")]
Latency = Annotated[str | None, typer.Option("--latency", metavar="TIME", help="At most this for a batch: 8ms, 0.5s.")]
Size = Annotated[
    str | None, typer.Option("--size", metavar="BYTES", help="Weights of at most this, in fp32: 20MB, 3.5MiB.")
]
Macs = Annotated[str | None, typer.Option("--macs", metavar="COUNT", help="At most this many multiply-adds: 1G, 300M.")]
Accuracy = Annotated[
    str | None, typer.Option("--accuracy", metavar="TOP1", help="At least this top-1 in percent; needs --data.")
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="Score every depth on these validation images.")
]
Depths = Annotated[
    str | None,
    typer.Option(
        "--depths",
        autocompletion=complete.depths,
        help="Depths to choose from. Default: those that the learngene was trained at, or 2-12,18,24; in a folder, all.",
    ),
]
Engine = Annotated[
    str, typer.Option("--engine", metavar="ENGINE", help="torch, compile (torch.compile) or onnxruntime.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images in a batch.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads of the processor. Default: torch's choice.")
]
Seconds = Annotated[float, typer.Option("--seconds", help="How long to measure; more is more exact.")]
Check = Annotated[bool, typer.Option("--check", help="Measure every depth, to test the predictions.")]
Png = Annotated[
    Path | None,
    typer.Option("--png", metavar="FILE", help="Plot latency over depth or, with --data, accuracy over latency."),
]


def choose(
    model: Model,
    latency: Latency = None,
    size: Size = None,
    macs: Macs = None,
    accuracy: Accuracy = None,
    data: Data = None,
    depths: Depths = None,
    step: o.Step = None,
    positions: o.Positions = None,
    engine: Engine = "torch",
    device: o.Device = "auto",
    batch_size: BatchSize = 1,
    threads: Threads = None,
    seconds: Seconds = 15,
    check: Check = False,
    png: Png = None,
    json: o.Json = False,
) -> None:
    """Choose a depth by latency, size, multiply-adds or accuracy. A few depths are measured on this machine, the others predicted.

    Of the depths that keep all limits, the most accurate is chosen if there is --data, otherwise the deepest; with
    --accuracy, the fastest. Without limits, the table is all. If no depth keeps the limits, the exit code is 1.

    Example: tleg choose learngene.pt --latency 8ms
    """
    from tleg_cli.errors import ConfigError, TlegError, printable

    if not 0 <= seconds <= _LONGEST:
        raise ConfigError(f"--seconds {seconds:g}: write 0 to {_LONGEST}")
    limits = _limits(latency, size, macs, accuracy, data)
    from tleg_cli.deploy.candidates import candidates_of
    from tleg_cli.deploy.choose import Request
    from tleg_cli.deploy.choose import choose as make_choice
    from tleg_cli.deploy.engines import Setup
    from tleg_cli.report.bar import work_bar
    from tleg_cli.report.choice import none_keeps, plot_choice, print_choice
    from tleg_cli.report.output import print_json, print_line

    asked = "cpu" if engine == "onnxruntime" and device == "auto" else device
    setup = Setup(engine, pick_device(asked, 1), batch_size, threads)
    candidates = candidates_of(model, depths, step, positions)
    with work_bar() as show:
        choice = make_choice(
            candidates,
            str(model),
            Request(limits, setup, seconds, check, data),
            show,
            lambda text: typer.echo(printable(text), err=True),
        )
    if png is not None:
        plot_choice(choice, png)
    if json:
        print_json(choice)
    else:
        print_choice(choice)
    if choice["chosen"] is None and limits:
        raise TlegError(none_keeps(choice))
    if choice["chosen"] is not None and not json and model.is_file():
        print_line(f"next: {command_line('expand', model, depth=choice['chosen'], step=step, positions=positions)}")


def _limits(
    latency: str | None, size: str | None, macs: str | None, accuracy: str | None, data: str | None
) -> "Limits":
    from tleg_cli.deploy.quantities import parse_bytes, parse_macs, parse_percent, parse_seconds
    from tleg_cli.errors import ConfigError

    limits: Limits = {}
    if latency is not None:
        limits["latency"] = parse_seconds(latency, "--latency")
    if size is not None:
        limits["bytes"] = parse_bytes(size, "--size")
    if macs is not None:
        limits["macs"] = parse_macs(macs, "--macs")
    if accuracy is not None:
        limits["top1"] = parse_percent(accuracy, "--accuracy")
        if data is None:
            raise ConfigError("--accuracy needs --data DATA, whose validation images the networks are scored on")
    return limits
