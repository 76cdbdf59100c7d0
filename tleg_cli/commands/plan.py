"""`tleg plan`: what the trainings would do, before they start."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import command_line, default_out, pick_device
from tleg_cli.commands.train_aux import teacher_option

if TYPE_CHECKING:
    from tleg_cli.config import Config
    from tleg_cli.plan.document import Estimate, Plan

_SECONDS = 5.0  # of steps, at least three

Depth = Annotated[
    str | None,
    typer.Option("--depth", autocompletion=complete.depths, help="Depths of the descendants. Default: the preset's."),
]
Teacher = Annotated[str | None, typer.Option("--teacher", help="A file of weights, or a timm model's name.")]
Learngene = Annotated[Path | None, typer.Option("--learngene", help="The learngene.pt that stage 2 would start from.")]
Images = Annotated[int | None, typer.Option("--images", min=1, help="Training images to count with.")]
Classes = Annotated[int | None, typer.Option("--classes", min=1, help="Classes to count with.")]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="Time a few steps of stage 1 here, and estimate the hours of every training."),
]
ScratchEpochs = Annotated[
    int,
    typer.Option(
        "--scratch-epochs", min=1, help="Epochs of each network from scratch, for comparison; 100 in the paper."
    ),
]


def plan(
    preset: o.Preset,
    data: o.Data = None,
    depth: Depth = None,
    teacher: Teacher = None,
    learngene: Learngene = None,
    gpus: o.Gpus = 1,
    nodes: o.Nodes = 1,
    settings: o.Settings = None,
    images: Images = None,
    classes: Classes = None,
    measure: Measure = False,
    device: o.Device = "auto",
    scratch_epochs: ScratchEpochs = 100,
    json: o.Json = False,
) -> None:
    """Show what train-aux and train-des would do: parameters, MACs, steps, memory, files, what is missing and what can't work.

    If the data is not available, ImageNet-1k's size is assumed and the output says so. What is missing and what a training
    would refuse are lines of the plan; the exit code is 0 if a plan could be made. At its end are the commands to run.

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
    if measure:
        made["estimate"] = _estimate(made, config, device)
    where = data or (None if made["data"]["path"] else "DATA")
    shared = _shared_words(preset, where, gpus, nodes, settings or ())
    made["commands"] = _commands(made, preset, shared, teacher, learngene, depth)
    if json:
        print_json(made)
    else:
        print_plan(made)


def _estimate(plan: "Plan", config: "Config", device: str) -> "Estimate":
    from tleg_cli.plan.estimate import estimate
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import join_world

    with join_world(pick_device(device, 1)) as world:
        return estimate(plan, config, world, Screen(quiet=False), seconds=_SECONDS)


def _shared_words(preset: str, data: str | None, gpus: int, nodes: int, settings: Sequence[str]) -> list[object]:
    """What every command of the plan has."""
    words: list[object] = ["--preset", preset, *(["--data", data] if data else [])]
    words += ["--gpus", gpus] if gpus > 1 else []
    words += ["--nodes", nodes, "--node-rank", "RANK", "--rdzv-endpoint", "HOST:PORT"] if nodes > 1 else []
    return words + [word for setting in settings for word in ("--set", setting)]


def _commands(
    plan: "Plan",
    preset: str,
    shared: Sequence[object],
    teacher: str | None,
    learngene: Path | None,
    depth: str | None,
) -> list[str]:
    """What makes the planned networks, in order; stage 1 only if its learngene isn't there yet."""
    lines = []
    if learngene is None or not learngene.is_file():
        if plan["teacher"] is not None and "steps" in plan["teacher"]:
            lines.append(command_line("train-teacher", *shared))
            teacher = str(default_out(preset, "teacher") / "teacher.safetensors")
        lines.append(command_line("train-aux", *shared, teacher=teacher))
        learngene = default_out(preset, "aux") / "learngene.pt"
    return [*lines, command_line("train-des", *shared, learngene=learngene, depth=depth)]
