"""The table of `tleg compress`: size against what is left, and against top-1 where it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from tleg_cli.report.output import print_line, print_table
from tleg_cli.report.units import size

if TYPE_CHECKING:
    from tleg_cli.deploy.compress import CompressedFile


def print_compression(files: Sequence[CompressedFile]) -> None:
    """The learngene itself comes first. kept: of the squared differences between its blocks."""
    depths = list(files[0].get("scores", {}))
    scored = [f"depth {depth}" for depth in depths]
    columns = ["file", "values", "size", "kept", *scored, *(["mean"] if len(depths) > 1 else [])]
    title = "size, and top-1 in percent with no further training" if depths else "size"
    print_table(title, columns, [_row(file) for file in files], dispensable=scored[1:-1])
    print_line()
    print_line("kept: of the squared differences between the blocks and their mean")


def _row(file: CompressedFile) -> list[str]:
    scores = list(file.get("scores", {}).values())
    return [
        file["file"],
        f"{file['values']:,}",
        size(file["bytes"]),
        f"{100 * file['kept']:.1f} %",
        *(f"{score:.1f}" for score in scores),
        *([f"{fmean(scores):.1f}"] if len(scores) > 1 else []),
    ]
