"""`tleg inspect`: what a file of weights contains, and whether depth is linear."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Learngenes, descendants or any checkpoints.")]
Shapes = Annotated[bool, typer.Option("--shapes", help="Sizes and shapes only; reads the header, not the weights.")]
Tensors = Annotated[bool, typer.Option("--tensors", help="Also show a line for each tensor.")]
Module = Annotated[
    str | None,
    typer.Option("--module", metavar="PATTERN", help="Only tensors of these modules: attn.qkv, 'mlp.*'."),
]
Layer = Annotated[str | None, typer.Option("--layer", metavar="LAYERS", help="Only tensors of blocks 0, 2-5 or 0,11.")]
Sort = Annotated[
    str | None, typer.Option("--sort", metavar="COLUMN", help="Tensors by norm, std, r2, ...: largest first.")
]
Top = Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Only the first N tensors.")]
Basis = Annotated[
    list[str] | None,
    typer.Option(
        "--basis", autocompletion=complete.bases, help="Measure the layers against this basis; may be repeated."
    ),
]
Depths = Annotated[
    str | None,
    typer.Option(
        "--depths",
        autocompletion=complete.depths,
        help="Networks whose parameters are counted; with --data they are scored.  [default: 3-12]",
    ),
]
Against = Annotated[
    Path | None,
    typer.Option("--against", metavar="FILE", help="Show what changed since this learngene or checkpoint."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="Score a learngene's networks on these images, at each of --depths."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a web page, complete in one file.")]
Png = Annotated[Path | None, typer.Option("--png", metavar="DIR", help="Write the plots as PNG files.")]


def inspect(
    files: Files,
    shapes: Shapes = False,
    tensors: Tensors = False,
    module: Module = None,
    layer: Layer = None,
    sort: Sort = None,
    top: Top = None,
    basis: Basis = None,
    depths: Depths = None,
    against: Against = None,
    data: Data = None,
    weights: o.WeightSet = "auto",
    html: Html = None,
    png: Png = None,
    json: o.Json = False,
) -> None:
    """Show what weights contain: sizes, statistics, theta_A against theta_B, and whether depth is linear.

    With --data it shows what networks of many depths score with no further training, as the file says they are made and, if that is
    TLEG's way, with --step scaled too.

    Example: tleg inspect learngene.pt --html learngene.html
    """
    from tleg_cli.inspect.inspection import inspect_files
    from tleg_cli.inspect.overview import InspectOptions
    from tleg_cli.inspect.selection import refuse_without_weights, selection_of
    from tleg_cli.weights.hub import LEARNGENES, NETWORKS, local_file

    selection = selection_of(module=module, layer=layer, sort=sort, top=top)
    if shapes:
        refuse_without_weights(selection, basis=basis, against=against, png=png, data=data)
    options = InspectOptions(depths, None if shapes else tuple(basis or ()), against, weights)
    local = [local_file(file, (*LEARNGENES, *NETWORKS)) for file in files]
    document = selection.apply(inspect_files(local, options))
    if data is not None:
        from tleg_cli.inspect.profile import profiles_of
        from tleg_cli.report.progress import Screen

        for entry in document["files"]:
            entry["profiles"] = profiles_of(entry, data, depths, Screen().say)
    if html is not None:
        from tleg_cli.report.inspect_page import write_page

        write_page(document, html)
    if png is not None:
        from tleg_cli.report.inspect_plots import write_plots

        write_plots(document, png)
    if json:
        from tleg_cli.report.output import print_json

        print_json(document)
    else:
        from tleg_cli.report.inspect_tables import print_inspection

        print_inspection(document, tensors=tensors or selection.any)
