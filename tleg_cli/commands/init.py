"""`tleg init`: a preset for your own images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tleg_cli.commands import _options as o

if TYPE_CHECKING:
    from tleg_cli.plan.make_preset import MadePreset
    from tleg_cli.plan.own_preset import TeacherChoice
    from tleg_cli.plan.survey import Survey

TeacherFrom = Annotated[
    str | None,
    typer.Option(
        "--teacher-from",
        metavar="NAME",
        help="A timm model whose published weights are fine-tuned as the teacher, or the file of a trained teacher. "
        "Default: a small residual network, from scratch.",
    ),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=8, max=1024, help="Pixels. Default: by the images and the machine.")
]
FineTuned = Annotated[
    Path | None,
    typer.Option("--learngene", help="Fine-tune networks of this learngene, or of hf-hub:USER/NAME; needs no teacher."),
]

Data = Annotated[str, typer.Option("--data", metavar="DATA", help="A folder with train/ and val/, or a source's name.")]
Out = Annotated[Path, typer.Option("--out", help="The preset to write, as in my.yaml.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing preset.")]


def init(
    data: Data,
    out: Out,
    teacher_from: TeacherFrom = None,
    learngene: FineTuned = None,
    image_size: ImageSize = None,
    device: o.Device = "auto",
    force: Force = False,
    json: o.Json = False,
) -> None:
    """Write a preset for your own images: sizes, normalisation, network, teacher and recipe, and show the next commands.

    Reads up to 1,000 training images to measure their size, mean and standard deviation. Every value in the preset is a starting
    point with its reason next to it. With --learngene, the preset fine-tunes networks of a learngene that is trained already.

    Example: tleg init --data /data/photos --out my.yaml
    """
    from dataclasses import asdict

    from tleg_cli.commands._training import pick_device
    from tleg_cli.config_file import read_yaml, validate
    from tleg_cli.files import write_text
    from tleg_cli.plan.make_preset import preset_for_fine_tuning, preset_for_training
    from tleg_cli.plan.survey import survey
    from tleg_cli.report.output import print_json

    _check(out, force, teacher_from, learngene)
    found, gpu = survey(data), pick_device(device, 1) == "cuda"
    if learngene is None:
        teacher = partial(_teacher, teacher_from, len(found.classes))
        made = preset_for_training(found, out, image_size, teacher, gpu=gpu)
    else:
        made = preset_for_fine_tuning(found, out, image_size, learngene, gpu=gpu)
    validate(read_yaml(made.text, str(out)), str(out))
    write_text(out, made.text)
    if json:
        print_json({"file": str(out), "data": asdict(found), "chosen": asdict(made.chosen), "next": made.commands})
        return
    _print(out, found, made)


def _check(out: Path, force: bool, teacher_from: str | None, learngene: Path | None) -> None:
    from tleg_cli.errors import ConfigError, TlegError

    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out} is not the name of a preset; write --out {out}.yaml")
    if out.exists() and not force:
        raise TlegError(f"{out} exists already; choose another name, or replace it with --force")
    if learngene is not None and teacher_from is not None:
        raise ConfigError("--learngene is trained already and needs no teacher; leave out --teacher-from")


def _print(out: Path, found: "Survey", made: "MadePreset") -> None:
    from tleg_cli.data.read_image import WAY_OUT
    from tleg_cli.errors import printable
    from tleg_cli.plan.own_preset import with_data
    from tleg_cli.report.output import print_facts, print_line

    if found.unreadable:
        count, of = len(found.unreadable), len(found.unreadable) + found.read
        first = found.unreadable[0].removesuffix(WAY_OUT)
        typer.echo(
            printable(f"warning: {count} of {of} images can't be used ({first}); the first command leaves them out"),
            err=True,
        )
    facts = {
        "images": f"{found.train:,} to train, {found.val:,} to score; {len(found.classes)} classes",
        "their size": f"{found.shorter} x {found.longer} pixels (median of {found.read:,})",
        "used at": f"{made.chosen.image_size} pixels",
        "crops": f"{made.chosen.smallest_crop:.0%} of an image or more, "
        + (
            "mirrored at random; flip: 0.0 in the preset prevents that"
            if made.chosen.flip
            else "not mirrored: all are grey"
        ),
        "network": made.network,
        "teacher": made.teacher,
        "preset": out,
    }
    print_facts(found.data, facts)
    print_line()
    print_line("next:")
    measure = f"tleg plan --preset {with_data(out, found)} --measure    # how long this takes, before it starts"
    for command in (*made.commands, measure):
        print_line(f"  {command}")


def _teacher(given: str | None, classes: int, large: bool) -> "TeacherChoice":
    """The teacher that --teacher-from names. What is known without a download, its classes and its name, is checked now."""
    from tleg_cli.commands.train_aux import teacher_option
    from tleg_cli.errors import ConfigError
    from tleg_cli.plan.own_preset import TeacherChoice

    file, model = teacher_option(given)
    if file is not None:
        from tleg_cli.models.model_file import read_card
        from tleg_cli.models.teacher import check_classes

        if not Path(file).is_file():
            raise ConfigError(f"--teacher-from {file}: no such file; give a timm model's name, or leave it out")
        card = read_card(Path(file))
        if card is not None:
            check_classes(card.classes, classes, file)
        return TeacherChoice("file", file)
    if model is not None:
        from tleg_cli.models.published import check_published

        check_published(model)
        return TeacherChoice("timm", model)
    return TeacherChoice("scratch", "resnet18" if large else "resnet10t")
