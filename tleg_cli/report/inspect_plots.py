"""`tleg inspect --png`: the drawings of an inspection as PNG files, for papers and slides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.files import atomic_file
from tleg_cli.inspect.document import Inspection
from tleg_cli.report.output import shown
from tleg_cli.report.page_shapes import merged_counts
from tleg_cli.report.units import percent

Entry = Mapping[str, Any]
GREEN, SOFT = "#0b6e4f", "#8a8f98"
DEPTH = "plasma"  # colours from the first layer to the last


def write_plots(document: Inspection, folder: Path) -> list[Path]:
    """Writes up to five plots for each file (NAME-linearity.png, -trajectories, -norms, -histograms, -profile) and returns their paths.

    Plots without values are left out: a learngene has no layers, and a profile needs --data. Raises TlegError if a file
    can't be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    written: list[Path] = []
    matplotlib.rcParams["text.parse_math"] = False  # names in a file may hold dollar signs
    names = [_plain_name(file["file"]) for file in document["files"]]
    for index, (name, file) in enumerate(zip(names, shown(document["files"]), strict=True)):
        own = name if names.count(name) == 1 else f"{name}-{index + 1}"
        for kind, draw in (
            ("linearity", _linearity),
            ("trajectories", _trajectories),
            ("norms", _norms),
            ("histograms", _histograms),
            ("profile", _profile),
        ):
            figure = draw(file)
            if figure is not None:
                written.append(folder / f"{own}-{kind}.png")
                _save(figure, written[-1])
    return written


def _profile(file: Entry) -> Any:
    """Top-1 over depth with no further training, a line for each expansion rule."""
    from matplotlib import pyplot

    profiles = file.get("profiles")
    if not profiles:
        return None
    figure, axis = pyplot.subplots(figsize=(6, 3.4))
    names = [one["depth"] for one in profiles[0]["scores"]]
    for profile, colour in zip(profiles, (SOFT, GREEN) if len(profiles) > 1 else (GREEN,), strict=True):
        label = f"positions {profile['positions']}, step {profile['step']}"
        axis.plot(range(len(names)), [one["top1"] for one in profile["scores"]], "o-", color=colour, label=label)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlabel("depth")
    axis.set_ylabel("top-1 (%), no further training")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _plain_name(path: str) -> str:
    """Of a file, as the beginning of other names: short enough for them, and without characters that need quoting."""
    plain = re.sub(r"[^\w.-]", "_", Path(path).stem) or "file"
    return plain.encode()[:200].decode(errors="ignore")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", bbox_inches="tight")
    pyplot.close(figure)


def _modules(file: Entry) -> list[tuple[str, Entry]]:
    """Modules that have layers, with their stage if there are several."""
    several = len(file["stages"]) > 1
    return [
        (f"{one['stage']} {one['module']}" if several else one["module"], one["linearity"])
        for one in file.get("modules", ())
        if one["linearity"]
    ]


def _linearity(file: Entry) -> Any:
    """Modules down, bases across, R^2 in the cells."""
    modules = _modules(file)
    if not modules:
        return None
    from matplotlib import pyplot

    bases = modules[0][1]["bases"]
    values = [[one["r2"] if one["r2"] is not None else float("nan") for one in found["bases"]] for _, found in modules]
    figure, axis = pyplot.subplots(figsize=(1.5 + 1.1 * len(bases), 0.9 + 0.36 * len(modules)))
    axis.imshow(values, vmin=0, vmax=1, cmap="Greens", aspect="auto")
    for row, numbers in enumerate(values):
        for column, value in enumerate(numbers):
            text = "–" if value != value else percent(value)
            axis.text(
                column, row, text, ha="center", va="center", fontsize=8, color="white" if value > 0.6 else "black"
            )
    chance = [f"{one['basis']}\nchance {100 * (one['random'] or 0):.0f} %" for one in bases]
    axis.set_xticks(range(len(bases)), chance, fontsize=8)
    axis.set_yticks(range(len(modules)), [name for name, _ in modules], fontsize=8)
    axis.set_title("R² of the layers about their mean", loc="left", fontsize=10)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def _trajectories(file: Entry) -> Any:
    modules = [(name, found) for name, found in _modules(file) if found["pca"]]
    if not modules:
        return None
    figure, axes = _panels(len(modules), 2.6, 2.2)
    for axis, (name, found) in zip(axes, modules, strict=True):
        places = [(place[0], place[1] if len(place) > 1 else 0.0) for place in found["pca"]["places"]]
        across, up = zip(*places, strict=True)
        axis.plot(across, up, color=SOFT, lw=1, zorder=1)
        axis.scatter(across, up, c=range(len(places)), cmap=DEPTH, s=26, zorder=2)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_title(name, loc="left", fontsize=9)
        shares = found["pca"]["explained"]
        axis.set_xlabel(f"PC1 {100 * (shares[0] or 0):.0f} %", fontsize=8)
        axis.tick_params(labelsize=6)
    return figure


def _norms(file: Entry) -> Any:
    modules = _modules(file)
    if not modules:
        return None
    figure, axes = _panels(len(modules), 2.4, 1.7)
    for axis, (name, found) in zip(axes, modules, strict=True):
        values = [float("nan") if value is None else value for value in found["norms"]]
        axis.plot(values, color=GREEN, lw=1.8, marker="o", ms=3)
        axis.set_ylim(bottom=0)
        axis.set_title(name, loc="left", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    return figure


def _histograms(file: Entry) -> Any:
    """A panel for each weight of the blocks, a curve for each layer; none for tensors outside of blocks."""
    stacks: dict[str, list[Entry]] = {}
    for entry in file["tensors"]:
        if entry["stack"] and len(entry.get("histogram") or ()) > 1:
            stacks.setdefault(entry["stack"], []).append(entry)
    if not stacks:
        return None
    from matplotlib import colormaps

    figure, axes = _panels(len(stacks), 2.4, 1.7)
    for axis, (name, tensors) in zip(axes, stacks.items(), strict=True):
        for index, one in enumerate(tensors):
            counts = merged_counts(one)
            width = (one["max"] - one["min"]) / len(counts)
            values = [one["min"] + (number + 0.5) * width for number in range(len(counts))]
            heights = [count / (sum(counts) * width) for count in counts]
            axis.plot(values, heights, color=colormaps[DEPTH](index / max(len(tensors) - 1, 1) * 0.9), lw=0.8)
        axis.set_title(name, loc="left", fontsize=8)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    return figure


def _panels(count: int, wide: float, tall: float) -> tuple[Any, Sequence[Any]]:
    """`count` panels, at most four in a row."""
    from matplotlib import pyplot

    columns = min(count, 4)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(wide * columns, tall * rows), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for axis in flat:
        axis.locator_params(axis="x", nbins=4)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat[:count]
