"""`tleg import`: a learngene from a checkpoint of the reference code."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o


def import_reference(
    reference: Annotated[Path, typer.Argument(help="A checkpoint of an aux net, as the reference code saves it.")],
    learngene: Annotated[Path, typer.Argument(help="The .pt or .safetensors to write.")],
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            autocompletion=complete.backbones,
            help="Default: the DeiT of its width. `vit` takes any size.",
        ),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, max=1000, help="Of its aux net; the file doesn't say.")] = 12,
    heads: Annotated[int | None, typer.Option("--heads", min=1, help="Of a `vit`. Default: width / 64.")] = None,
    as_trained: Annotated[
        bool,
        typer.Option(
            "--as-trained", help="Keep the aux net's function: its final norm stays before pooling, with its eps."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: o.Json = False,
) -> None:
    """Make a learngene of a checkpoint that the published reference code of TLEG wrote.

    Its final norm becomes fc_norm, as in the reference's own descendants, and images are normalised as for ImageNet. That
    changes the function: at the aux net's depth the logits are not the aux net's. With --as-trained they are, at every depth.
    Of pickled objects only options (argparse.Namespace, paths) are let in; a checkpoint that holds others is refused.

    Example: tleg import reference/checkpoint.pth learngene.pt
    """
    from tleg_cli.errors import TlegError
    from tleg_cli.learngene.depths import format_depth
    from tleg_cli.learngene.file import write_learngene
    from tleg_cli.learngene.reference import read_reference
    from tleg_cli.models.network_check import with_network_check
    from tleg_cli.report.output import print_facts, print_json

    if learngene.exists() and not force:
        raise TlegError(f"{learngene} exists already; choose another name, or replace it with --force")
    gene = read_reference(reference, backbone, depth, heads, as_trained=as_trained)
    write_learngene(with_network_check(gene), learngene)
    metadata = gene.metadata
    facts = {
        "file": str(learngene),
        "backbone": metadata.backbone,
        "options": dict(metadata.options),
        "depth": format_depth(metadata.depth),
        "classes": metadata.classes,
        "image_size": metadata.input.image_size,
        "parameters": gene.parameters(),
    }
    if json:
        print_json(facts)
        return
    print_facts(f"learngene of {reference}", {**facts, "parameters": f"{facts['parameters']:,}"})
