"""`tleg export`: a network for other runtimes, or a learngene for the reference code."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o

Model = Annotated[Path, typer.Argument(help="A learngene, or the weights of a network, of tleg or of timm.")]
File = Annotated[Path | None, typer.Argument(metavar="OUT", help="The same as --out.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="onnx; torch: a program of torch.export; executorch; reference: a checkpoint of the reference code.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The file to write: .onnx, .pt2, .pte or .pth.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Compare on its validation images, with accuracy. Default: random images. --int8 needs it.",
    ),
]
Images = Annotated[
    int | None,
    typer.Option("--images", min=1, help="Compare at most so many. Default: 500, or 64 random ones."),
]
Int8 = Annotated[bool, typer.Option("--int8", help="Of ONNX: quantise weights and activations.")]
CalibrationImages = Annotated[
    int, typer.Option("--calibration-images", min=1, help="Of the training split, for the ranges of int8.")
]
MaxDrop = Annotated[float, typer.Option("--max-drop", min=0, metavar="POINTS", help="Of top-1 that int8 may lose.")]
Opset = Annotated[int, typer.Option("--opset", min=18, help="Of ONNX.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


def export(
    context: typer.Context,
    model: Model,
    file: File = None,
    format: Format = "onnx",
    out: Out = None,
    depth: o.NetworkDepth = None,
    step: o.Step = None,
    positions: o.Positions = None,
    data: Data = None,
    images: Images = None,
    int8: Int8 = False,
    calibration_images: CalibrationImages = 128,
    max_drop: MaxDrop = 1.0,
    opset: Opset = 20,
    class_map: o.ClassMap = None,
    weights: o.WeightSet = "auto",
    timm_model: o.TimmModel = None,
    option: o.TimmOptions = None,
    force: Force = False,
    json: o.Json = False,
) -> None:
    """Write a network for another runtime, run the file there, and compare it with the network.

    ONNX and torch files take any number of images, ExecuTorch's one. Preprocessing, class names and depth are in their
    metadata. A file whose logits differ from the network's, or whose accuracy falls too far in int8, is not written. Needs
    tleg[export] for ONNX, tleg[executorch] for ExecuTorch.

    --format reference writes a learngene as the published reference code reads it, which knows plain ViTs with the linear
    basis. Its format has no place for the depth of the aux net, the number of heads and the normalisation; `tleg import`
    assumes 12, 64 numbers a head and ImageNet's.

    Example: tleg export runs/des/depth-06/model.safetensors --out net.onnx --data /fast/imagenet
    """
    from tleg_cli.errors import ConfigError, printable
    from tleg_cli.models.fit_checkpoint import option_values
    from tleg_cli.report.export_table import report_export
    from tleg_cli.report.output import print_json

    if (file is None) == (out is None):
        raise ConfigError("give the file to write once, as --out FILE")
    target = out or file
    assert target is not None
    _refuse_what_does_not_apply(context, format, int8=int8)
    if format == "reference":
        _export_reference(model, target, force=force, as_json=json)
        return
    from tleg_cli.deploy.export import Export, export_network
    from tleg_cli.training.evaluate_file import Evaluation

    network = Evaluation(
        model,
        data or "",
        depth,
        class_map=class_map,
        positions=positions,
        step=step,
        weight_set=weights,
        model=timm_model,
        options=option_values(option or ()),
    )
    wanted = Export(network, target, format, int8, images, calibration_images, max_drop, opset, force)
    report = export_network(wanted, lambda text: typer.echo(printable(text), err=True))
    if json:
        print_json(report)
    else:
        report_export(report)


def _refuse_what_does_not_apply(context: typer.Context, format: str, *, int8: bool) -> None:
    """Raises ConfigError for an option that this format doesn't have."""
    from tleg_cli.errors import ConfigError

    given = [
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    for name in given:
        option = f"--{name.replace('_', '-').replace('timm-', '')}"
        if format == "reference" and name not in ("model", "file", "out", "format", "force", "json"):
            raise ConfigError(f"{option} does not apply to --format reference, which writes a learngene as it is")
        if format != "onnx" and name == "opset":
            raise ConfigError(f"--opset is for --format onnx, not {format}")
        if not int8 and name in ("calibration_images", "max_drop"):
            raise ConfigError(f"{option} is for --int8")


def _export_reference(learngene: Path, out: Path, *, force: bool, as_json: bool) -> None:
    from tleg_cli import plugin_manager
    from tleg_cli.errors import TlegError
    from tleg_cli.learngene.file import read_learngene
    from tleg_cli.learngene.reference import write_reference
    from tleg_cli.report.output import print_facts, print_json

    if out.exists() and not force:
        raise TlegError(f"{out} exists already; choose another name, or replace it with --force")
    gene = read_learngene(learngene, plugin_manager.bases())
    write_reference(gene, out)
    facts = {
        "file": str(out),
        "format": "reference",
        "backbone": gene.metadata.backbone,
        "parameters": gene.parameters(),
    }
    if as_json:
        print_json(facts)
        return
    print_facts(f"{learngene} for the reference code", {**facts, "parameters": f"{facts['parameters']:,}"})
