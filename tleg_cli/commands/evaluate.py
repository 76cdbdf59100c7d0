"""`tleg evaluate`: the score of a network, or of a learngene at any depth."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


def evaluate(
    model: Annotated[Path, typer.Argument(help="A descendant, a teacher or a learngene that tleg wrote.")],
    data: Annotated[
        str,
        typer.Option("--data", help="What `tleg prepare` wrote, a folder with train/ and val/, or a source's name."),
    ],
    depth: Annotated[
        str | None, typer.Option("--depth", help="Of a learngene: expand it to this depth. Default: the aux net's.")
    ] = None,
    step: o.Step = None,
    positions: o.Positions = None,
    split: Annotated[str, typer.Option("--split", help="val or train.")] = "val",
    class_map: o.ClassMap = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 128,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Loader workers for each process.")] = 4,
    precision: Annotated[str, typer.Option("--precision", help="fp32, bf16 or fp16.")] = "fp32",
    gpus: o.Gpus = 1,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Score a network on images: top-1, top-5 and loss, every image counted once.

    The network's class names are compared with the data's. The same names in another order are put in order, and the
    output says so; other names are refused.

    Example: tleg evaluate runs/small-des/depth-06/model.safetensors --data /fast/imagenet
    """
    from tleg_cli.errors import ConfigError
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.output import print_facts, print_json

    if split not in ("val", "train"):
        raise ConfigError(f"--split {split!r} is unknown; write val or train")
    if precision not in ("fp32", "bf16", "fp16"):
        raise ConfigError(f"--precision {precision!r} is unknown; write fp32, bf16 or fp16")

    def score(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.training.evaluate_file import Evaluation, evaluate_file

        wanted = Evaluation(
            model, data, depth, split, batch_size, workers, precision, class_map, positions=positions, step=step
        )
        return evaluate_file(wanted, world, screen.say)

    def report(scores: Mapping[str, Any]) -> None:
        if json:
            print_json(scores)
            return
        facts = {name: f"{scores[name]:.2f} %" for name in ("top1", "top5")}
        facts |= {"loss": f"{scores['loss']:.4f}", "images": f"{scores['images']:,}"}
        print_facts(f"{model} on {data} ({split})", facts)

    in_processes(Processes(gpus, pick_device(device, gpus)), None, (), score, report)
