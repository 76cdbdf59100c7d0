"""`tleg evaluate`: the score of a network, or of a learngene at any depth."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


class Checkpoint(str, Enum):
    """Those of a run that are kept."""

    best = "best"
    last = "last"


Model = Annotated[
    Path,
    typer.Argument(
        help="A learngene, a network of tleg or of timm, an .onnx of `tleg export`, or the folder of a run or family."
    ),
]
Data = Annotated[
    str,
    typer.Option("--data", help="What `tleg prepare` wrote, a folder with train/ and val/, or a source's name."),
]
Depth = Annotated[
    str | None,
    typer.Option(
        "--depth",
        autocompletion=complete.depths,
        help="Of a learngene: expand it to this depth, or to several. Default: the aux net's.",
    ),
]
CheckpointOption = Annotated[
    Checkpoint | None,
    typer.Option(
        "--checkpoint",
        help="Of a run folder: score its best checkpoint, by top-1, or the last one, not the result.",
    ),
]
Split = Annotated[str, typer.Option("--split", help="val or train.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1)]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Loader workers for each process.")]
Precision = Annotated[str, typer.Option("--precision", help="fp32, bf16 or fp16.")]


def evaluate(
    model: Model,
    data: Data,
    depth: Depth = None,
    checkpoint: CheckpointOption = None,
    step: o.Step = None,
    positions: o.Positions = None,
    split: Split = "val",
    class_map: o.ClassMap = None,
    weights: o.WeightSet = "auto",
    timm_model: o.TimmModel = None,
    option: o.TimmOptions = None,
    batch_size: BatchSize = 128,
    workers: Workers = 4,
    precision: Precision = "fp32",
    gpus: o.Gpus = 1,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Score a network on images: top-1, top-5 and loss, every image counted once.

    The network's class names are compared with the data's. The same names in another order are put in order, and the
    output says so; other names are refused.

    A learngene is scored at any number of depths, as it is, without training: --depth 2-12,18,24.

    The folder of a run, also one that is not finished: --checkpoint best or last scores what its checkpoints hold.

    Example: tleg evaluate runs/small-des/depth-06/model.safetensors --data /fast/imagenet
    """
    from tleg_cli.errors import ConfigError
    from tleg_cli.launch.processes import Processes
    from tleg_cli.models.fit_checkpoint import option_values
    from tleg_cli.report.output import print_facts, print_json, print_table

    if split not in ("val", "train"):
        raise ConfigError(f"--split {split!r} is unknown; write val or train")
    if precision not in ("fp32", "bf16", "fp16"):
        raise ConfigError(f"--precision {precision!r} is unknown; write fp32, bf16 or fp16")

    options = option_values(option or ())

    def score(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.training.evaluate_file import Evaluation, evaluate_file

        wanted = Evaluation(
            model,
            data,
            depth=depth,
            split=split,
            batch_size=batch_size,
            workers=workers,
            precision=precision,
            class_map=class_map,
            positions=positions,
            step=step,
            weight_set=weights,
            model=timm_model,
            options=options,
            checkpoint=None if checkpoint is None else checkpoint.value,
        )
        return evaluate_file(wanted, world, screen.say)

    def report(scores: Mapping[str, Any]) -> None:
        if json:
            print_json(scores)
            return
        title = f"{model} on {data} ({split})"
        if "depths" in scores:
            rows = [[one["depth"], *_shown(one).values()] for one in scores["depths"]]
            print_table(title, ["depth", "top-1", "top-5", "loss", "images"], rows)
        else:
            print_facts(title, _shown(scores))

    in_processes(Processes(gpus, pick_device(device, gpus)), None, (), score, report)


def _shown(scores: Mapping[str, Any]) -> dict[str, str]:
    loss = "not finite" if scores["loss"] is None else f"{scores['loss']:.4f}"
    return {
        **{name: f"{scores[name]:.2f} %" for name in ("top1", "top5")},
        "loss": loss,
        "images": f"{scores['images']:,}",
    }
