"""`tleg export`: a learngene for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def export(
    learngene: Annotated[Path, typer.Argument(help="A learngene.pt or learngene.safetensors.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[str, typer.Option("--format", help="reference: a checkpoint of the published reference code.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: o.Json = False,
) -> None:
    """Write a learngene as another program reads it.

    The reference code knows plain ViTs with the linear basis. Its format has no place for the depth of the aux net, the
    number of heads and the normalisation; `tleg import` assumes 12, 64 numbers a head and ImageNet's.

    Example: tleg export learngene.pt checkpoint.pth --format reference
    """
    from tleg_cli import plugin_manager
    from tleg_cli.errors import ConfigError, TlegError
    from tleg_cli.learngene.file import read_learngene
    from tleg_cli.learngene.reference import write_reference
    from tleg_cli.report.output import print_facts, print_json

    if format != "reference":
        raise ConfigError(f"--format {format!r} is unknown; write --format reference")
    if out.exists() and not force:
        raise TlegError(f"{out} exists already; choose another name, or replace it with --force")
    gene = read_learngene(learngene, plugin_manager.bases())
    write_reference(gene, out)
    facts = {"file": str(out), "format": format, "backbone": gene.metadata.backbone, "parameters": gene.parameters()}
    if json:
        print_json(facts)
        return
    print_facts(f"{learngene} for the reference code", {**facts, "parameters": f"{facts['parameters']:,}"})
