"""`tleg train-des`: stage 2, one depth or a family."""

from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import TrainingOptions, default_out, in_processes, with_training_options

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


class Init(str, Enum):
    """What a descendant starts from."""

    learngene = "learngene"
    scratch = "scratch"


class Trained(str, Enum):
    """What of a descendant is trained."""

    all = "all"
    coefficients = "coefficients"


@with_training_options
def train_des(
    preset: o.Preset,
    learngene: Annotated[
        Path | None,
        typer.Option(
            "--learngene",
            help="The learngene.pt of `tleg train-aux`, or hf-hub:USER/NAME; not needed with --init scratch.",
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            "--depth", autocompletion=complete.depths, help="6, 3,6,9, 3-12 or 2:2:18:2. Default: the preset's."
        ),
    ] = None,
    init: Annotated[
        Init, typer.Option("--init", help="scratch: the same network without the learngene.")
    ] = Init.learngene,
    trained: Annotated[
        Trained | None,
        typer.Option(
            "--train",
            help="coefficients: only how the blocks are combined from the learngene, norms and head. Default: the preset's, all.",
        ),
    ] = None,
    step: o.Step = None,
    positions: o.Positions = None,
    class_map: o.ClassMap = None,
    fresh_head: Annotated[
        bool,
        typer.Option("--fresh-head", help="Start every descendant with a new head, as for another number of classes."),
    ] = False,
    *,
    options: TrainingOptions,
) -> None:
    """Stage 2: train descendants of any depth, each from the expanded learngene.

    Writes depth-NN/model.safetensors for each depth into the run folder, in timm's own layout.

    Example: tleg train-des --preset small --learngene learngene.pt --depth 3-12 --gpus 4
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.learngene.depths import parse_depths
    from tleg_cli.report.summary import report_family

    config = load_config(
        preset,
        options.settings or (),
        data__path=options.data,
        seed=options.seed,
        descendant__checkpoint_every=options.checkpoint_every,
        descendant__train=trained and trained.value,
        descendant__step=step,
        descendant__positions=positions,
        descendant__class_map=class_map and str(class_map),
        descendant__fresh_head=fresh_head or None,
        descendant__log_every=options.log_every,
    )
    depths = parse_depths(depth or config.descendant.depths)
    folder = options.out or default_out(preset, "des" if init is Init.learngene else "des-scratch")

    def train(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.training.train_descendants import train_descendants as run
        from tleg_cli.weights.hub import local_file

        scratch = init is Init.scratch
        file = learngene and local_file(learngene)
        return run(config, file, depths, folder, world, screen, options.allow_changed or (), scratch=scratch)

    report = partial(report_family, folder=folder, as_json=options.json)
    in_processes(options.processes(), folder, options.torchrun_options or (), train, report)
