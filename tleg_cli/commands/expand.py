"""`tleg expand`: descendants from a learngene, without training."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o


def expand(
    learngene: Annotated[Path, typer.Argument(help="A learngene.pt or learngene.safetensors, or hf-hub:USER/NAME.")],
    depth: Annotated[str, typer.Option("--depth", autocompletion=complete.depths, help="6, 3,6,9, 3-12 or 2:2:18:2.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A .safetensors file for one depth, a folder for any number. Default: next to the learngene."
        ),
    ] = None,
    step: o.Step = None,
    positions: o.Positions = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    json: o.Json = False,
) -> None:
    """Grow networks of any depth from a learngene; timm loads what this writes.

    A learngene on the Hugging Face Hub, hf-hub:USER/NAME[/FILE][@REVISION], is fetched once; its networks are written into
    the current folder unless --out names another.

    Example: tleg expand learngene.pt --depth 6
    """
    from tleg_cli import plugin_manager
    from tleg_cli.learngene.depths import parse_depths
    from tleg_cli.learngene.file import read_learngene
    from tleg_cli.models.branches import reread
    from tleg_cli.models.grow import grow
    from tleg_cli.report.output import print_json, print_line, print_table
    from tleg_cli.weights.hub import is_on_hub, local_file

    depths = parse_depths(depth)
    source = local_file(learngene)
    if out is None and is_on_hub(learngene):
        out = Path()  # not into the hub's cache
    gene = reread(read_learngene(source, plugin_manager.bases()), positions, step)
    grown = grow(gene, depths, source, out, force=force)
    if json:
        print_json([one.as_dict() for one in grown])
        return
    print_table(
        f"{gene.metadata.backbone} from {learngene} ({gene.stored or gene.parameters():,} parameters stored)",
        ["file", "depth", "parameters"],
        [[str(one.file), one.depth, f"{one.parameters:,}"] for one in grown],
    )
    print_line()
    print_line(f"In Python: {grown[0].create.removesuffix(')')}, checkpoint_path={str(grown[0].file)!r})")
