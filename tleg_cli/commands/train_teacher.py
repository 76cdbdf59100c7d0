"""`tleg train-teacher`: a teacher, if none can be downloaded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import TrainingOptions, command_line, default_out, in_processes, with_training_options

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


@with_training_options
def train_teacher(
    preset: o.Preset,
    *,
    options: TrainingOptions,
) -> None:
    """Train a teacher from scratch, for data that no pretrained one fits.

    Writes teacher.safetensors into the run folder, for `tleg train-aux --teacher`.

    Example: tleg train-teacher --preset digits --data digits --out runs/teacher
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.report.summary import report_run

    config = load_config(
        preset,
        options.settings or (),
        data__path=options.data,
        seed=options.seed,
        teacher__recipe__checkpoint_every=options.checkpoint_every,
        teacher__recipe__log_every=options.log_every,
    )
    folder = options.out or default_out(preset, "teacher")

    def train(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.training.train_teacher import train_teacher as run

        return run(config, folder, world, screen, options.allow_changed or ())

    result = folder / "teacher.safetensors"
    then = command_line("train-aux", preset=preset, data=options.data, teacher=result)
    in_processes(
        options.processes(),
        folder,
        options.torchrun_options or (),
        train,
        lambda summary: report_run(summary, folder, as_json=options.json, following=[then]),
    )
