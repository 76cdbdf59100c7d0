"""`tleg compare` as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tleg_cli.files import atomic_file
from tleg_cli.inspect.comparison import Comparison
from tleg_cli.report.output import print_line, print_table
from tleg_cli.report.units import percents

# colours that differ for colour-blind readers too (Okabe & Ito)
_LINES = (
    ("untrained_top1", "aux", "one any-depth learngene", "#0072b2", "o-"),
    ("separate_top1", "separate", "trained separately", "#009e73", "D"),
    ("tleg_untrained_top1", "tleg", "TLEG as published", "#d55e00", "s--"),
)


def print_comparison(comparison: Comparison) -> None:
    """One row for each depth, then what it cost."""
    shown = [line for line in _LINES if line[1] in comparison["costs"]]
    rows = [
        [str(one["depth"]), *("-" if one[key] is None else percents(one[key]) for key, *_ in shown)]  # type: ignore[literal-required]
        for one in comparison["depths"]
    ]
    titles = {"aux": "any depth", "tleg": "TLEG as published", "separate": "trained separately"}
    print_table(
        "top-1 on the validation images; learngenes with no further training",
        ["depth", *(titles[name] for _, name, *_ in shown)],
        rows,
    )
    print_line()
    aux = comparison["costs"]["aux"]["block_images"]
    costs = [(titles[name], comparison["costs"][name]) for _, name, *_ in shown]
    print_table(
        "cost of training (without the teacher)",
        ["", "networks", "epochs each", "images x blocks", "relative"],
        [
            [
                title,
                str(cost["networks"]),
                cost["epochs"],
                _millions(cost["block_images"]),
                f"{cost['block_images'] / aux:.2f}",
            ]
            for title, cost in costs
        ],
    )


def _millions(number: float) -> str:
    return f"{number / 1e6:.1f} M"


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Top-1 over depth, one line for each way, with its cost in the legend. Writes a PNG on white."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    places = range(len(comparison["depths"]))
    figure, axis = pyplot.subplots(figsize=(8.2, 4.1))
    for key, name, title, colour, style in _LINES:
        cost = comparison["costs"].get(name)
        if cost is None:
            continue
        points = [(at, one[key]) for at, one in zip(places, comparison["depths"], strict=True) if one[key] is not None]  # type: ignore[literal-required]
        networks = f"{cost['networks']} trainings" if cost["networks"] > 1 else "1 training"
        label = f"{title}: {networks} of {cost['epochs']} epochs, {_millions(cost['block_images'])} images x blocks"
        axis.plot(*zip(*points, strict=True), style, color=colour, lw=2, ms=7, mew=0, label=label, clip_on=False)
    _dress(axis, comparison)
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")
    pyplot.close(figure)


def _dress(axis: Any, comparison: Comparison) -> None:
    names = [str(one["depth"]) for one in comparison["depths"]]
    scores = [one[key] for one in comparison["depths"] for key, *_ in _LINES if one[key] is not None]  # type: ignore[literal-required]
    low = max(0.0, min(scores) - 4)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlabel("depth of the network (blocks)")
    axis.set_ylabel("top-1 (%)")
    axis.set_ylim(low, 100)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="lower center", frameon=False, fontsize=9)
    what = "Networks of every depth from one learngene, with no further training"
    axis.set_title(what, loc="left", fontsize=11, fontweight="bold")
