"""`tleg predict`: what a network says about images."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import pick_device

Model = Annotated[
    Path,
    typer.Argument(
        help="A learngene, the weights of a network, of tleg or of timm, or what `tleg export` wrote as .onnx."
    ),
]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")]
Top = Annotated[int, typer.Option("--top", min=1, help="How many classes are shown for an image.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1)]


def predict(
    model: Model,
    images: Images,
    depth: o.NetworkDepth = None,
    step: o.Step = None,
    positions: o.Positions = None,
    top: Top = 3,
    class_map: o.ClassMap = None,
    weights: o.WeightSet = "auto",
    batch_size: BatchSize = 32,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Name what is in images: classes and probabilities.

    An image that can't be read is named, the others are predicted, and the exit code is 1.

    Example: tleg predict runs/des/depth-06/model.safetensors photo.jpg
    """
    from dataclasses import replace

    import torch

    from tleg_cli.deploy.predict import image_files, predict
    from tleg_cli.errors import ConfigError, DataError, printable
    from tleg_cli.models.class_names import read_class_map
    from tleg_cli.report.output import print_json, print_table
    from tleg_cli.training.evaluate_file import Evaluation, open_scored

    files = image_files(images)
    opened = open_scored(Evaluation(model, "", depth, positions=positions, step=step, weight_set=weights))
    if len(opened.networks) > 1:
        raise ConfigError(f"--depth {depth} names {len(opened.networks)} networks; one is needed")
    for note in opened.notes:
        typer.echo(printable(note), err=True)
    card = opened.card
    if card.classes < 1:
        raise ConfigError(f"{model} has no classifier, so it can't name classes")
    if class_map is not None:
        card = replace(card, class_names=tuple(read_class_map(class_map, card.classes)))
    (build,) = opened.networks.values()
    chosen = torch.device(pick_device(device, 1))
    found = list(predict(build(), card, files, chosen, top=top, batch_size=batch_size))
    if json:
        print_json(found)
    else:
        rows = [
            [one["image"], *_words(guess["name"], guess["index"], guess["probability"])]
            for one in found
            for guess in one.get("guesses", [])
        ]
        print_table(f"{model}, {card.input.image_size} pixels", ["image", "class", "probability"], rows)
    errors = [one["error"] for one in found if "error" in one]
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise DataError(f"{len(errors)} of {len(found)} images can't be read: {errors[0]}{more}")


def _words(name: str | None, index: int, probability: float) -> tuple[str, str]:
    return name if name is not None else f"class {index}", f"{100 * probability:.1f} %"
