"""What a learngene buys: descendants from it beside the same networks from scratch, as numbers, a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.errors import FileFormatError
from tleg_cli.report.summary import print_table


def compare_families(aux: Mapping[str, Any], family: Mapping[str, Any], scratch: Mapping[str, Any]) -> dict[str, Any]:
    """One summary of three: top-1 in percent, by epoch. Raises FileFormatError unless both families have the same depths."""
    theirs = {one["depth"]: one for one in scratch["descendants"]}
    depths = [one["depth"] for one in family["descendants"]]
    if sorted(theirs) != sorted(depths):
        raise FileFormatError(
            f"the families differ: depths {', '.join(depths)} from the learngene, {', '.join(theirs)} from scratch"
        )
    return {
        "aux": {"depth": _number(aux["depth"]), "top1": aux["final_top1"]},
        "seconds": round(sum(one["seconds"] for one in [aux, *family["descendants"], *theirs.values()]), 1),
        "descendants": [
            {
                "depth": _number(one["depth"]),
                "parameters": one["parameters"],
                "zero_epoch_top1": one["zero_epoch_top1"],
                "top1": one["top1"],
                "scratch_top1": theirs[one["depth"]]["top1"],
            }
            for one in family["descendants"]
        ],
    }


def _number(depth: str) -> int | str:
    return int(depth) if depth.isdigit() else depth


def catches_up(one: Mapping[str, Any]) -> int | None:
    """The epoch after which the network from scratch is as good as the descendant was after one; None if never."""
    first = one["top1"][0]
    return next((epoch for epoch, top1 in enumerate(one["scratch_top1"], 1) if top1 >= first), None)


def print_comparison(summary: Mapping[str, Any]) -> None:
    """One row for each depth."""
    rows = [
        [
            str(one["depth"]),
            f"{one['zero_epoch_top1']:.1f} %",
            f"{one['top1'][0]:.1f} %",
            f"{one['top1'][-1]:.1f} %",
            f"{one['scratch_top1'][0]:.1f} %",
            f"{one['scratch_top1'][-1]:.1f} %",
            _epochs(one),
        ]
        for one in summary["descendants"]
    ]
    last = len(summary["descendants"][0]["top1"])
    columns = [
        "depth",
        "untrained",
        "1 epoch",
        f"{last} epochs",
        "scratch: 1",
        f"scratch: {last}",
        "scratch catches up",
    ]
    print_table(f"top-1; aux net of depth {summary['aux']['depth']}: {summary['aux']['top1']:.1f} %", columns, rows)


def _epochs(one: Mapping[str, Any]) -> str:
    epoch = catches_up(one)
    return f"epoch {epoch}" if epoch else f"not in {len(one['scratch_top1'])}"


def plot_comparison(summary: Mapping[str, Any], path: Path) -> None:
    """Top-1 over epochs, a panel for each depth: learngene against scratch, the untrained expansion marked. PNG or SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from tleg_cli.files import atomic_file

    descendants: Sequence[Mapping[str, Any]] = summary["descendants"]
    figure, axes = pyplot.subplots(
        1, len(descendants), figsize=(2.6 * len(descendants) + 0.6, 3.4), sharey=True, squeeze=False
    )
    for axis, one in zip(axes[0], descendants, strict=True):
        _panel(axis, one)
    axes[0][0].set_ylabel("top-1 (%)")
    axes[0][0].legend(loc="lower right", frameon=False, fontsize=8)
    aux = summary["aux"]
    figure.suptitle(
        f"One learngene (aux net of depth {aux['depth']}, {aux['top1']:.1f} %), {len(descendants)} depths",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix.lstrip(".") or "png")
    pyplot.close(figure)


def _panel(axis: Any, one: Mapping[str, Any]) -> None:
    gene, scratch = "#0b6e4f", "#b0651d"
    epochs = range(1, len(one["top1"]) + 1)
    axis.plot([0, *epochs], [one["zero_epoch_top1"], *one["top1"]], color=gene, lw=2, label="from the learngene")
    axis.plot(
        range(1, len(one["scratch_top1"]) + 1), one["scratch_top1"], color=scratch, lw=2, ls="--", label="from scratch"
    )
    axis.plot([0], [one["zero_epoch_top1"]], "o", color=gene, ms=8, mfc="white", mew=2, zorder=3, clip_on=False)
    axis.annotate(
        f"{one['zero_epoch_top1']:.0f} %\nuntrained",
        (0, one["zero_epoch_top1"]),
        xytext=(8, -22),
        textcoords="offset points",
        fontsize=8,
        color=gene,
    )
    axis.set_title(f"depth {one['depth']}", fontsize=10)
    axis.set_xlabel("epoch")
    axis.set_ylim(0, 100)
    axis.set_xlim(0, len(one["top1"]))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
