"""`tleg train-aux`: stage 1."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import TrainingOptions, command_line, default_out, in_processes, with_training_options
from tleg_cli.errors import ConfigError

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


@with_training_options
def train_aux(
    preset: o.Preset,
    teacher: Annotated[str | None, typer.Option("--teacher", help="A file of weights, or a timm model's name.")] = None,
    class_map: o.ClassMap = None,
    weights: o.WeightSet = "auto",
    allow_bad_teacher: Annotated[
        bool, typer.Option("--allow-bad-teacher", help="Go on with a teacher that scores no better than guessing.")
    ] = False,
    *,
    options: TrainingOptions,
) -> None:
    """Stage 1: train the learngene inside an aux net, distilling a teacher.

    The teacher is scored on the validation images first; one that only guesses stops the run. Writes learngene.pt into the run
    folder. The same command again carries on where it was stopped.

    Example: tleg train-aux --preset small --data /fast/imagenet --gpus 4
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.report.summary import report_run, serves_many

    file, model = teacher_option(teacher)
    config = load_config(
        preset,
        options.settings or (),
        data__path=options.data,
        teacher__weights=file,
        teacher__model=model,
        teacher__class_map=class_map and str(class_map),
        teacher__weight_set=None if weights == "auto" else weights,
        aux__allow_bad_teacher=allow_bad_teacher or None,
        seed=options.seed,
        aux__checkpoint_every=options.checkpoint_every,
        aux__log_every=options.log_every,
    )
    folder = options.out or default_out(preset, "aux")

    def train(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.training.train_aux import train_aux as run

        return run(config, folder, world, screen, options.allow_changed or ())

    def report(summary: Mapping[str, Any]) -> None:
        result = folder / "learngene.pt"
        if serves_many(summary):  # good at all of them as it is; stage 2 is optional
            first = command_line("evaluate", result, data=options.data or config.data.path, depth=summary["depths"])
        else:
            first = command_line("train-des", preset=preset, data=options.data, learngene=result)
        then = [first, command_line("expand", result, depth=summary["depth"])]
        report_run(summary, folder, as_json=options.json, following=then)

    in_processes(options.processes(), folder, options.torchrun_options or (), train, report)


def teacher_option(teacher: str | None) -> tuple[str | None, str | None]:
    """(file, None) for what looks like a file, (None, model name) otherwise. Raises ConfigError for a folder."""
    if not teacher:
        return None, None
    path = Path(teacher)
    if path.is_dir():
        inside = [path / name for name in ("teacher.safetensors", "model.safetensors") if (path / name).is_file()]
        raise ConfigError(
            f"--teacher {teacher} is a folder; give the file of weights in it{f': --teacher {inside[0]}' if inside else ''}"
        )
    if path.exists() or len(path.parts) > 1 or path.suffix in (".safetensors", ".pt", ".pth", ".bin", ".tar", ".ckpt"):
        return teacher, None
    return None, teacher
