"""`tleg fit`: the learngene of a network that is trained already, in closed form and without data."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def fit(
    checkpoint: Annotated[Path, typer.Argument(help="A descendant, or any checkpoint of a timm model.")],
    learngene: Annotated[Path, typer.Argument(help="The .pt or .safetensors to write.")],
    basis: Annotated[
        str, typer.Option("--basis", help="linear, constant, piecewise:3 (SWS), polynomial:2, hat:3.")
    ] = "linear",
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Default: the one that the file names, or whose shapes it has.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="What shapes don't say of a backbone, as in num_heads=4."),
    ] = None,
    weights: o.WeightSet = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: o.Json = False,
) -> None:
    """Find the learngene nearest to a trained network: least squares over its layers, in seconds and without data.

    Reads what timm, DeiT, Swin, Lightning and others save, of the backbones that `tleg plugins` lists. R² is the share of what
    distinguishes the layers that the learngene keeps; the last column is what random layers would give.

    Example: tleg fit deit_tiny.pth learngene.pt --basis linear
    """
    from tleg_cli import plugin_manager
    from tleg_cli.errors import TlegError, printable
    from tleg_cli.learngene.basis import get_basis
    from tleg_cli.learngene.file import write_learngene
    from tleg_cli.models.fit_checkpoint import fit_file, fit_report, option_values
    from tleg_cli.report.fit_table import print_fit
    from tleg_cli.report.output import print_json
    from tleg_cli.weights.read_header import read_header

    if learngene.exists() and not force:
        raise TlegError(f"{learngene} exists already; choose another name, or replace it with --force")
    chosen = get_basis(basis, plugin_manager.bases())
    fitted = fit_file(checkpoint, chosen, backbone, option_values(option or ()), weights)
    if choice := read_header(checkpoint, weights).choice():
        typer.echo(printable(f"{checkpoint}: {choice}"), err=True)
    write_learngene(fitted.learngene, learngene)
    report = fit_report(fitted, learngene)
    if json:
        print_json(report)
    else:
        print_fit(report, checkpoint)
