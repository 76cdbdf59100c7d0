"""`tleg inspect`: what a file of weights contains, and whether depth is linear."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Learngenes, descendants or any checkpoints.")],
    shapes: Annotated[
        bool, typer.Option("--shapes", help="Sizes and shapes only; reads the header, not the weights.")
    ] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="Also show a line for each tensor.")] = False,
    module: Annotated[
        str | None,
        typer.Option("--module", metavar="PATTERN", help="Only tensors of these modules: attn.qkv, 'mlp.*'."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="LAYERS", help="Only tensors of blocks 0, 2-5 or 0,11.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN", help="Tensors by norm, std, r2, ...: largest first.")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Only the first N tensors.")] = None,
    basis: Annotated[
        list[str] | None, typer.Option("--basis", help="Measure the layers against this basis; may be repeated.")
    ] = None,
    depths: Annotated[
        str | None, typer.Option("--depths", help="Count the parameters of networks of these depths.  [default: 3-12]")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="Show what changed since this learngene or checkpoint."),
    ] = None,
    weights: o.WeightSet = "auto",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a web page, complete in one file.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="DIR", help="Write the plots as PNG files.")] = None,
    json: o.Json = False,
) -> None:
    """Show what weights contain: sizes, statistics, theta_A against theta_B, and whether depth is linear.

    Example: tleg inspect learngene.pt --html learngene.html
    """
    from tleg_cli.inspect.inspection import inspect_files
    from tleg_cli.inspect.overview import InspectOptions
    from tleg_cli.inspect.selection import refuse_without_weights, selection_of

    selection = selection_of(module=module, layer=layer, sort=sort, top=top)
    if shapes:
        refuse_without_weights(selection, basis=basis, against=against, png=png)
    options = InspectOptions(depths, None if shapes else tuple(basis or ()), against, weights)
    document = selection.apply(inspect_files(files, options))
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
