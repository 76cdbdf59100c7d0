"""`tleg compress`: a learngene in a smaller file, without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World

Keep = Annotated[
    str | None,
    typer.Option(
        "--keep", metavar="SHARE", help="Of the values that are stored, as in 0.4; several, as in 0.2,0.3,0.4."
    ),
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="Validation images: also show top-1 of every file.")
]
Depth = Annotated[
    str | None,
    typer.Option("--depth", autocompletion=complete.depths, help="Scored at these. Default: those it was trained at."),
]


def compress(
    learngene: Annotated[Path, typer.Argument(help="A learngene.pt or learngene.safetensors, or hf-hub:USER/NAME.")],
    out: Annotated[Path, typer.Argument(help="The .pt or .safetensors to write; a folder for several shares.")],
    keep: Keep = None,
    half: Annotated[bool, typer.Option("--half", help="Write float16: half the bytes.")] = False,
    data: Data = None,
    depth: Depth = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Write a learngene in a smaller file, which every command reads like the original.

    --keep stores the matrices of the blocks as their mean and residuals of low rank, from truncated singular value decompositions; the
    ranks are chosen so that as much as possible of what distinguishes the blocks is left. It is for learngenes with a theta for every
    block, as `tleg adopt` makes them. With --data, a table shows the accuracy of each file against its size.

    Example: tleg compress runs/adopted/learngene.pt small.pt --keep 0.4 --half

    Example: tleg compress runs/adopted/learngene.pt runs/small --keep 0.2,0.3,0.4,0.5 --half --data /data/photos
    """
    from tleg_cli.errors import ConfigError
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.output import print_json

    if keep is None and not half:
        raise ConfigError("nothing to do: give --keep SHARE, --half or both")
    if depth is not None and data is None:
        raise ConfigError(f"--depth {depth} is for the scores; give --data too")
    keeps = _shares(keep)

    def work(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.deploy.compress import Wanted, compress_file

        return {"files": compress_file(Wanted(learngene, out, keeps, half, data, depth, force), world, screen.say)}

    def report(found: Any) -> None:
        from tleg_cli.report.compression import print_compression

        if json:
            print_json(found)
        else:
            print_compression(found["files"])

    in_processes(Processes(1, pick_device(device, 1)), None, (), work, report)


def _shares(text: str | None) -> list[float]:
    """Raises ConfigError for anything but different numbers between 0 and 1."""
    from tleg_cli.errors import ConfigError

    try:
        shares = [float(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        shares = [0.0]
    if not all(0 < share < 1 for share in shares) or len(set(shares)) < len(shares):
        raise ConfigError(f"--keep {text!r} should be one or several different shares between 0 and 1, as in 0.2,0.4")
    return shares
