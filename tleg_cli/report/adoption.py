"""What `tleg adopt` has changed: top-1 over depth before and after its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.files import atomic_file
from tleg_cli.report.output import print_json, print_line, print_table
from tleg_cli.report.units import percents

PLOT = "adoption.png"


def report_adoption(summary: Mapping[str, Any], folder: Path, *, as_json: bool, every_block: bool) -> None:
    """A table with a row for each depth that was scored, or the summary as JSON. every_block: its file has all of them."""
    if as_json:
        print_json(summary)
        return
    before = {**summary.get("zero_epoch_top1_at", {}), summary["depth"]: summary.get("zero_epoch_top1")}
    after = {**summary.get("top1_at", {}), summary["depth"]: summary["final_top1"]}
    order = sorted(after, key=lambda depth: [int(blocks) for blocks in depth.split(":")])
    rows = [[depth, percents(before.get(depth)), percents(after[depth])] for depth in order]
    stored = f"{summary['learngene_parameters']:,} parameters"
    score = "agreement with the teacher" if summary.get("scored") == "agreement" else "top-1"
    title = f"adopted network of depth {summary['depth']}: {stored}; {score}"
    print_table(title, ["depth", "before", "after"], rows)
    if len(order) > 1:
        _plot([(depth, before.get(depth), after[depth]) for depth in order], score, folder / PLOT)
    print_line()
    if len(order) > 1:
        print_line(f"plot: {folder / PLOT}")
    learngene = folder / summary["file"]
    print_line(f"Networks of any depth: tleg expand {learngene} --depth {order[0]}")
    print_line(f"How fast each depth is here: tleg choose {learngene}")
    if every_block:
        print_line(f"A smaller file: tleg compress {learngene} {folder / 'small.pt'} --keep 0.4 --half")


def _plot(points: Sequence[tuple[str, float | None, float]], score: str, path: Path) -> None:
    """The two curves over depth as a PNG on white. points: depth, before, after."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.2, 3.8))
    blocks = [depth for depth, *_ in points]
    places = list(range(len(points))) if ":" in "".join(blocks) else [int(depth) for depth in blocks]
    known = [(at, before) for at, (_, before, _) in zip(places, points, strict=True) if before is not None]
    if known:
        axis.plot(*zip(*known, strict=True), "o--", color="#8a8f98", lw=2, label="before")
    axis.plot(places, [after for *_, after in points], "o-", color="#1f6feb", lw=2, label="after")
    axis.set_xticks(places, blocks)
    axis.set_xlabel("depth of the network (blocks)")
    axis.set_ylabel(f"{score} (%)")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")
    pyplot.close(figure)
