"""`tleg compare` as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tleg_cli.files import atomic_file
from tleg_cli.inspect.comparison import ComparedDescendant, Comparison, catches_up
from tleg_cli.report.output import print_table
from tleg_cli.report.units import count_of, percents

_FROM_LEARNGENE, _FROM_SCRATCH = "#0b6e4f", "#b0651d"


def print_comparison(comparison: Comparison) -> None:
    """One row for each depth."""
    rows = [
        [
            str(one["depth"]),
            percents(one["zero_epoch_top1"]),
            percents(_first(one["top1"])),
            percents(_last(one["top1"])),
            percents(_first(one["scratch_top1"])),
            percents(_last(one["scratch_top1"])),
            _when(one),
        ]
        for one in comparison["descendants"]
    ]
    columns = ["depth", "0 epochs", "1 epoch", _end(comparison, "top1"), "scratch: 1"]
    columns += [f"scratch: {_end(comparison, 'scratch_top1').removesuffix(' epochs')}", "scratch catches up"]
    aux = comparison["aux"]
    print_table(f"top-1; aux net of depth {aux['depth']}: {percents(aux['top1'])}", columns, rows)


def _first(scores: list[float | None]) -> float | None:
    return scores[0] if scores else None


def _last(scores: list[float | None]) -> float | None:
    return scores[-1] if scores else None


def _end(comparison: Comparison, key: str) -> str:
    """`10 epochs`, or `the end` where some depths were trained for longer than others."""
    lengths = {len(one[key]) for one in comparison["descendants"]}  # type: ignore[literal-required]
    return count_of(lengths.pop(), "epoch") if len(lengths) == 1 else "the end"


def _when(one: ComparedDescendant) -> str:
    epoch = catches_up(one)
    return f"epoch {epoch}" if epoch else f"not in {len(one['scratch_top1'])}"


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Top-1 over epochs, a panel for each depth: from the learngene, from scratch, and with no further training. Writes a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    descendants, aux = comparison["descendants"], comparison["aux"]
    size = (2.6 * len(descendants) + 0.6, 3.4)
    figure, axes = pyplot.subplots(1, len(descendants), figsize=size, sharey=True, squeeze=False)
    for axis, one in zip(axes[0], descendants, strict=True):
        _panel(axis, one)
    axes[0][0].set_ylabel("top-1 (%)")
    axes[0][0].legend(loc="lower right", frameon=False, fontsize=8)
    title = f"One learngene (aux net of depth {aux['depth']}, {percents(aux['top1'])}), {len(descendants)} depths"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    pyplot.close(figure)


def _panel(axis: Any, one: ComparedDescendant) -> None:
    gene, scratch = (
        [float("nan") if score is None else score for score in one[key]] for key in ("top1", "scratch_top1")
    )
    start = one["zero_epoch_top1"]
    if start is not None:
        gene_epochs, gene = range(len(gene) + 1), [start, *gene]
        axis.plot([0], [start], "o", color=_FROM_LEARNGENE, ms=8, mfc="white", mew=2, zorder=3, clip_on=False)
        label = f"{percents(start, 0)}\nno training"
        axis.annotate(label, (0, start), xytext=(8, -22), textcoords="offset points", fontsize=8, color=_FROM_LEARNGENE)
    else:
        gene_epochs = range(1, len(gene) + 1)
    axis.plot(gene_epochs, gene, color=_FROM_LEARNGENE, lw=2, label="from the learngene")
    epochs = range(1, len(scratch) + 1)
    axis.plot(epochs, scratch, color=_FROM_SCRATCH, lw=2, ls="--", label="from scratch")
    axis.set_title(f"depth {one['depth']}", fontsize=10)
    axis.set_xlabel("epoch")
    axis.set_ylim(0, 100)
    axis.set_xlim(0, max(len(one["top1"]), len(scratch), 1))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
