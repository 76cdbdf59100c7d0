"""`tleg fit`: the learngene of a network that is trained already, in closed form and without data."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o


def fit(
    checkpoint: Annotated[Path, typer.Argument(help="A descendant, or any checkpoint of a timm model.")],
    learngene: Annotated[Path, typer.Argument(help="The .pt or .safetensors to write.")],
    basis: Annotated[
        str,
        typer.Option(
            "--basis",
            autocompletion=complete.bases,
            help="linear, constant, piecewise:3 (SWS), polynomial:2, hat:3, cosine:3.",
        ),
    ] = "linear",
    backbone: o.BackboneName = None,
    option: o.BackboneOptions = None,
    weights: o.WeightSet = "auto",
    align: o.Align = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: o.Json = False,
) -> None:
    """Find the learngene nearest to a trained network: least squares over its layers, in seconds and without data.

    Reads what timm, DeiT, Swin, Lightning and others save, of the backbones that `tleg plugins` lists. R² is the share of what
    distinguishes the layers that the learngene keeps; the last column is what random layers would give, aligned too with --align.

    Example: tleg fit deit_tiny.pth learngene.pt --basis linear
    """
    from tleg_cli import plugin_manager
    from tleg_cli.errors import TlegError, printable
    from tleg_cli.learngene.basis import get_basis
    from tleg_cli.learngene.file import write_learngene
    from tleg_cli.models.fit_checkpoint import fit_file, fit_report, is_no_better_than_chance, option_values
    from tleg_cli.models.network_check import with_network_check
    from tleg_cli.report.fit_table import print_fit
    from tleg_cli.report.output import print_json
    from tleg_cli.weights.read_header import read_header

    if learngene.exists() and not force:
        raise TlegError(f"{learngene} exists already; choose another name, or replace it with --force")
    chosen = get_basis(basis, plugin_manager.bases())
    fitted = fit_file(checkpoint, chosen, backbone, option_values(option or ()), weights, align=align)
    if choice := read_header(checkpoint, weights).choice():
        typer.echo(printable(f"{checkpoint}: {choice}"), err=True)
    write_learngene(with_network_check(fitted.learngene), learngene)
    report = fit_report(fitted, learngene)
    if is_no_better_than_chance(report):
        line = (
            f"warning: basis {basis} keeps hardly more of these layers than of random ones, so networks from this learngene may be poor; "
            f"use `tleg adopt {checkpoint} --data DATA`, which keeps every block and trains them for many depths"
        )
        typer.echo(printable(line), err=True)
    if json:
        print_json(report)
    else:
        print_fit(report, checkpoint)
