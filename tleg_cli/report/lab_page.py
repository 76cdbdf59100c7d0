"""The page of `tleg lab`: table, accuracy over depth and over compute, and break-even, as one file without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tleg_cli.lab.break_even import BASELINE, BreakEven, Curve, break_evens, curve_of
from tleg_cli.lab.folder import Row
from tleg_cli.lab.latency import QUIET, Latency
from tleg_cli.lab.results import Line
from tleg_cli.lab.study import Study
from tleg_cli.learngene.depths import format_depth
from tleg_cli.report.output import shown
from tleg_cli.report.page_shapes import WIDE, Point, path
from tleg_cli.report.page_template import fill, part
from tleg_cli.report.units import short

_NAMED = 4  # methods that the first sentence lists
_TALL, _LEFT, _FLOOR = 120.0, 26.0, 104.0  # of a drawing, its axis and its floor


def lab_page(
    study: Study, name: str, lines: Sequence[Line], rows: Sequence[Row], latency: Latency | None = None
) -> str:
    """The page as text. lines: best first, as the terminal shows them. latency: of the depths, if it was measured."""
    depths = [format_depth(depth) for depth in study.depths]
    low = min((mean.mean for line in lines for mean in line.at.values()), default=0.0)
    floor = max(0.0, min(90.0, low // 10 * 10))
    curves = {line.method: curve_of(rows, line.method, depths) for line in lines}
    evens = break_evens(rows, [line.method for line in lines], depths)
    steps = {depth: number / max(len(depths) - 1, 1) for number, depth in enumerate(depths)}
    document = {
        "name": name,
        "facts": [
            study.protocol.compute,
            f"depths {study.protocol.depths}",
            f"seeds {', '.join(map(str, sorted({row['seed'] for row in rows})))}",
            f"{study.images:,} training images",
            *([f"converged: {study.protocol.converged:g} block-epochs"] if study.protocol.converged else []),
        ],
        "has_converged": any(line.converged for line in lines),
        "verdict": verdict(lines),
        "depths": depths,
        "baseline": BASELINE,
        "rows": [_table_row(line, depths) for line in lines],
        "over_depth": [_over_depth(line, lines, steps, {depth: depth for depth in depths}, floor) for line in lines],
        "over_latency": [] if latency is None else _over_latency(latency, lines, floor),
        "latency": "" if latency is None else _how_measured(latency),
        "over_compute": [card for line in lines if (card := _over_compute(curves[line.method], curves))],
        "evens": [_even(one) for one in evens],
        "failed": [
            f"{row['method']} at depth {row['depth']}, seed {row['seed']}: {row['error']}"
            for row in rows
            if row["status"] == "failed"
        ],
    }
    return fill("lab.html", **shown(document), style=part("inspect.css"))


def verdict(lines: Sequence[Line]) -> str:
    """What the ranks say, and how the best compare with separate networks."""
    best = [line for line in lines if line.rank == 1]
    if not best:
        return "There are fewer than three complete seeds for a rank."
    names = _named([line.method for line in best])
    alone = next((line for line in lines if line.method == BASELINE and line.rank is not None), None)
    text = f"No method is better than {names}." if len(best) > 1 else f"{names} is better than every other method."
    if alone is None or alone.overall is None:
        return text
    return (
        f"{text} Separate networks with the same teacher ({BASELINE}) have {alone.overall.mean:.1f} % on average and rank "
        f"{alone.rank}."
    )


def _named(methods: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(methods) - _NAMED
    words = [*methods[:_NAMED], *([f"{more} other{'s' * (more > 1)}"] if more > 0 else [])]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _table_row(line: Line, depths: Sequence[str]) -> dict[str, Any]:
    def score(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f}"

    overall = line.overall
    return {
        "method": line.method,
        "rank": "–" if line.rank is None else str(line.rank),
        "at": [_with_half(line, depth) for depth in depths],
        "mean": score(overall.mean if overall else None),
        "half": "" if overall is None or overall.half is None else f"± {overall.half:.1f}",
        "start": score(line.start),
        "epoch_1": score(line.epoch_1),
        "converged": score(line.converged.mean if line.converged else None),
        "stored": "–" if line.stored is None else short(line.stored),
    }


def _with_half(line: Line, depth: str) -> dict[str, str]:
    mean = line.at.get(depth)
    if mean is None:
        return {"text": "–", "half": ""}
    return {"text": f"{mean.mean:.1f}", "half": "" if mean.half is None else f"± {mean.half:.1f}"}


def _over_latency(latency: Latency, lines: Sequence[Line], floor: float) -> list[dict[str, Any]]:
    """The same over the milliseconds of a network of each depth; the first and the last are labelled."""
    most, ends = max(latency.seconds.values()), (min, max)
    shown = {
        depth: f"{1000 * seconds:.2g} ms"
        for depth, seconds in latency.seconds.items()
        if seconds in [end(latency.seconds.values()) for end in ends]
    }
    places = {depth: seconds / most for depth, seconds in latency.seconds.items()}
    return [_over_depth(line, lines, places, shown, floor) for line in lines]


def _how_measured(latency: Latency) -> str:
    text = f"Median of one image on this machine ({latency.device}"
    text += f", {latency.threads} thread{'s' * (latency.threads > 1)})." if latency.device == "cpu" else ")."
    if latency.share is not None and latency.share < QUIET:
        part = f"{100 * latency.share:.0f} % of the time"
        text += f" The machine was busy: the process had a processor for {part}, and these times are too long."
    return text


def _over_depth(
    line: Line, lines: Sequence[Line], places: Mapping[str, float], labels: Mapping[str, str], floor: float
) -> dict[str, Any]:
    """One method's scores with their intervals; the baseline dashed. places: from 0 to 1, by depth."""
    depths = [*places]

    def x_of(depth: str) -> float:
        return _LEFT + places[depth] * (WIDE - _LEFT - 12)

    def points(one: Line) -> list[Point]:
        return [(x_of(depth), _height(one.at[depth].mean, floor)) for depth in depths if depth in one.at]

    alone = next((one for one in lines if one.method == BASELINE), None)
    bars = [
        {
            "x": f"{x:.1f}",
            "low": f"{_height(mean.mean - mean.half, floor):.1f}",
            "high": f"{_height(mean.mean + mean.half, floor):.1f}",
        }
        for (x, _), mean in zip(points(line), [line.at[depth] for depth in depths if depth in line.at], strict=True)
        if mean.half is not None
    ]
    return {
        "method": line.method,
        "mean": "" if line.overall is None else f"{line.overall.mean:.1f} %",
        "path": path(points(line)),
        "alone": path(points(alone)) if alone and alone is not line else "",
        "bars": bars,
        "dots": [{"x": f"{x:.1f}", "y": f"{y:.1f}"} for x, y in points(line)],
        "labels": [{"x": f"{x_of(depth):.1f}", "text": text} for depth, text in labels.items()],
        "floor": f"{floor:.0f}",
        "tall": _TALL,
        "base": _FLOOR,
    }


def _over_compute(curve: Curve | None, curves: dict[str, Curve | None]) -> dict[str, Any] | None:
    """Mean over the depths against block-images; the baseline dashed."""
    if curve is None or not curve.points:
        return None
    most = max(cost for one in curves.values() if one for cost, _ in one.points)

    def points(one: Curve) -> list[Point]:
        return [(_LEFT + (WIDE - _LEFT - 12) * cost / most, _height(score, 0.0)) for cost, score in one.points]

    alone = curves.get(BASELINE)
    return {
        "method": curve.method,
        "path": path(points(curve)),
        "alone": path(points(alone)) if alone and alone is not curve else "",
        "dots": [{"x": f"{x:.1f}", "y": f"{y:.1f}"} for x, y in points(curve)],
        "end": f"{short(most)} block-images",
        "last": f"{curve.points[-1][1]:.1f} %",
        "tall": _TALL,
        "base": _FLOOR,
    }


def _height(score: float, floor: float) -> float:
    return _FLOOR - (_FLOOR - 8) * (min(max(score, floor), 100.0) - floor) / (100.0 - floor)


def _even(one: BreakEven) -> dict[str, str]:
    if one.depths is None:
        return {"method": one.method, "text": "never"}
    return {"method": one.method, "text": f"{one.depths} or fewer" if one.at_most else str(one.depths)}
