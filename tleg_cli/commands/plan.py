"""`tleg plan`: what the trainings would do, before they start."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands.train_aux import teacher_option


def plan(
    preset: o.Preset,
    data: o.Data = None,
    depth: Annotated[
        str | None, typer.Option("--depth", help="Depths of the descendants. Default: the preset's.")
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="A file of weights, or a timm model's name.")] = None,
    learngene: Annotated[
        Path | None, typer.Option("--learngene", help="The learngene.pt that stage 2 would start from.")
    ] = None,
    gpus: o.Gpus = 1,
    nodes: o.Nodes = 1,
    settings: o.Settings = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Training images to count with.")] = None,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Classes to count with.")] = None,
    scratch_epochs: Annotated[
        int,
        typer.Option(
            "--scratch-epochs", min=1, help="Epochs of each network from scratch, for comparison; 100 in the paper."
        ),
    ] = 100,
    json: o.Json = False,
) -> None:
    """Show what train-aux and train-des would do: parameters, MACs, steps, memory, files, what is missing and what can't work.

    If the data is not available, ImageNet-1k's size is assumed and the output says so. What is missing and what a training
    would refuse are lines of the plan; the exit code is 0 if a plan could be made.

    Example: tleg plan --preset small --depth 3-12 --gpus 4
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.learngene.depths import parse_depths
    from tleg_cli.report.output import print_json
    from tleg_cli.report.plan_table import counting, print_plan

    weights, model = teacher_option(teacher)
    config = load_config(preset, settings or (), data__path=data, teacher__weights=weights, teacher__model=model)
    with counting():
        from tleg_cli.plan.plan import make_plan

        made = make_plan(
            config,
            parse_depths(depth or config.descendant.depths),
            processes=gpus * nodes,
            learngene=learngene,
            images=images,
            classes=classes,
            scratch_epochs=scratch_epochs,
        )
    if json:
        print_json(made)
    else:
        print_plan(made)
