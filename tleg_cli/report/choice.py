"""`tleg choose` as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tleg_cli.deploy.choice import Candidate, broken_limits, why_none
from tleg_cli.deploy.choose import Choice
from tleg_cli.files import atomic_file
from tleg_cli.report.output import print_line, print_table
from tleg_cli.report.units import count_of, percents, short, size

_NAMES = {"latency": "--latency", "bytes": "--size", "macs": "--macs", "top1": "--accuracy"}
_QUIET = 0.9  # share of the time with a processor, above which times are what they are without other work
# colours that differ for colour-blind readers too (Okabe & Ito)
_MEASURED, _PREDICTED, _CHOSEN = "#0072b2", "#8a8f98", "#d55e00"


def milliseconds(seconds: float | None) -> str:
    """`8.24 ms`, with three significant digits; seconds from 10 s on."""
    if seconds is None:
        return "-"
    if seconds >= 10:
        return f"{seconds:.1f} s"
    value = 1000 * seconds
    digits = next(count for count, limit in enumerate((100, 10, 1, -1)) if abs(value) >= limit)
    return f"{value:.{digits}f} ms"


def print_choice(choice: Choice) -> None:
    """A row for each depth, the fitted line, and the chosen depth."""
    scored = any("top1" in one for one in choice["depths"])
    columns = ["depth", "size", "MACs", "predicted", "measured", "p95"]
    columns += ["top-1", "front"] if scored else []
    columns += ["over"] if choice["limits"] else []
    print_table(_title(choice), columns, [_row(one, choice, scored) for one in choice["depths"]])
    print_line()
    print_line(f"latency: {_fit_words(choice)}")
    error = largest_error(choice)
    if error is not None:
        share, depth = error
        print_line(
            f"largest error of a prediction: {percents(100 * share)} (depth {depth}, measured but not in the fit)"
        )
    had = choice["processor_share"]
    if had is not None and had < _QUIET:
        print_line(
            f"the machine was busy: this program had a processor for {percents(100 * had, 0)} of the time; times are too long, "
            "and predictions wrong; repeat it on a quiet machine"
        )
    chosen = next((one for one in choice["depths"] if one["depth"] == choice["chosen"]), None)
    if chosen is not None:
        top1 = f", top-1 {percents(chosen['top1'])}" if "top1" in chosen else ""
        how = "predicted" if chosen["measured"] is None else "measured"
        print_line(
            f"chosen: depth {chosen['depth']}, {milliseconds(chosen['latency'])} ({how}), {size(chosen['bytes'])}, "
            f"{short(chosen['macs'])} MACs{top1}"
        )


def largest_error(choice: Choice) -> tuple[float, str] | None:
    """(share, depth) of the worst prediction among the depths that were measured and not used in the fit; None without such."""
    errors = [
        (abs(one["predicted"] / one["measured"] - 1), one["depth"])
        for one in choice["depths"]
        if one["measured"] is not None and not one["fitted"]
    ]
    return max(errors) if errors else None


def none_keeps(choice: Choice) -> str:
    """Why no depth is chosen, in one line."""
    limits, candidates = choice["limits"], choice["depths"]
    found = why_none(candidates, limits)
    if found is None:
        left = [f"{_NAMES[name]} alone leaves {_kept(candidates, name, limits)}" for name in limits]
        return f"no depth keeps all limits: {'; '.join(left)}"
    name, nearest = found
    word = {"latency": "fastest", "bytes": "smallest", "macs": "cheapest", "top1": "most accurate"}[name]
    how = f" ({'measured' if nearest['measured'] is not None else 'predicted'})" if name == "latency" else ""
    value = _shown(name, nearest[name])  # type: ignore[literal-required]
    limit = _shown(name, limits[name])  # type: ignore[literal-required]
    return f"no depth keeps {_NAMES[name]} {limit}: the {word} is depth {nearest['depth']} with {value}{how}"


def _kept(candidates: list[Candidate], name: str, limits: Any) -> str:
    return ", ".join(one["depth"] for one in candidates if not broken_limits(one, {name: limits[name]}))  # type: ignore[misc]


def _shown(name: str, value: float) -> str:
    if name == "latency":
        return milliseconds(value)
    if name == "bytes":
        return size(value)
    return f"{short(value)} MACs" if name == "macs" else percents(value)


def _title(choice: Choice) -> str:
    threads = f", {count_of(choice['threads'], 'thread')}" if choice["device"] == "cpu" else ""
    return (
        f"{choice['file']}: {choice['engine']} on {choice['device']}{threads}, batches of "
        f"{count_of(choice['batch_size'], 'image')} of {choice['image_size']} pixels"
    )


def _row(one: Candidate, choice: Choice, scored: bool) -> list[str]:
    cells = [
        one["depth"],
        size(one["bytes"]),
        short(one["macs"]),
        milliseconds(one["predicted"]),
        milliseconds(one["measured"]),
        milliseconds(one["p95"]),
    ]
    if scored:
        cells += [percents(one.get("top1")), "front" if one.get("front") else ""]
    if choice["limits"]:
        cells.append(", ".join(_NAMES[name].removeprefix("--") for name in broken_limits(one, choice["limits"])))
    return cells


def _fit_words(choice: Choice) -> str:
    fit = choice["fit"]
    used = [one["depth"] for one in choice["depths"] if one["fitted"]]
    if len(used) == 1:
        return f"measured at depth {used[0]} only"
    fitted = f"fitted to depth {', '.join(used)}"
    if not fit["separate"]:
        return fitted
    several = len(fit["per_block"]) > 1
    terms = [
        f"{milliseconds(value)} for each block{f' of stage {stage}' if several else ''}"
        for stage, value in enumerate(fit["per_block"], 1)
        if value
    ]
    return " + ".join([milliseconds(fit["fixed"]), *terms]) + f", {fitted}"


def plot_choice(choice: Choice, path: Path) -> None:
    """With scores top-1 over latency and the Pareto front as a line, else latency over depth. Writes a PNG on white."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.2, 4.0))
    scored = all("top1" in one for one in choice["depths"])
    _draw_front(axis, choice) if scored else _draw_latency(axis, choice)
    limits = choice["limits"]
    if "latency" in limits:
        line = axis.axvline if scored else axis.axhline
        line(1000 * limits["latency"], color=_CHOSEN, ls=":", lw=1.2, label=f"limit {milliseconds(limits['latency'])}")
    axis.set_title(_title(choice), loc="left", fontsize=9, parse_math=False)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")
    pyplot.close(figure)


def _draw_front(axis: Any, choice: Choice) -> None:
    front = sorted((one for one in choice["depths"] if one["front"]), key=lambda one: one["latency"])
    axis.plot([1000 * one["latency"] for one in front], [one["top1"] for one in front], "-", color=_MEASURED, lw=1.5)
    for kind, style, label in ((True, "o", "Pareto front"), (False, "o", "slower or less accurate than another")):
        points = [one for one in choice["depths"] if one["front"] == kind]
        colour = _MEASURED if kind else _PREDICTED
        axis.plot(
            [1000 * one["latency"] for one in points], [one["top1"] for one in points], style, color=colour, label=label
        )
    for one in choice["depths"]:
        bold = {"color": _CHOSEN, "fontweight": "bold"} if one["depth"] == choice["chosen"] else {}
        axis.annotate(
            one["depth"], (1000 * one["latency"], one["top1"]), (0, 6), textcoords="offset points", ha="center", fontsize=8,
            **bold,
        )  # fmt: skip
    axis.set_xlabel("latency of a batch (ms)")
    axis.set_ylabel("top-1 (%)")


def _draw_latency(axis: Any, choice: Choice) -> None:
    places = [one["blocks"] for one in choice["depths"]]
    axis.plot(places, [1000 * one["predicted"] for one in choice["depths"]], "-", color=_PREDICTED, label="predicted")
    for fitted, style, label in ((True, "o", "measured, in the fit"), (False, "D", "measured, not in the fit")):
        points = [one for one in choice["depths"] if one["passes"] and one["fitted"] == fitted]
        if points:
            axis.plot(
                [one["blocks"] for one in points], [1000 * one["latency"] for one in points], style, color=_MEASURED,
                label=label,
            )  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.set_xlabel("blocks")
    axis.set_ylabel("latency of a batch (ms)")
