"""Curves as SVG: values over epochs or depths become paths, ticks and labels on a page; how they look is the style sheet's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tleg_cli.report.page_shapes import path

WIDE, TALL = 340.0, 190.0  # units of a drawing; the browser scales it
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 10.0, 26.0
_TICKS = 5
_MOST_POINTS = 600  # of a line: more than a screen shows, and a page with all steps of a long training would be large
_LEAST_PERCENT = 2.0  # points between the ends of an axis of percent: less would show one image of 500 as a slope
COLOURS = 8  # in the style sheet; after these, lines are dashed

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve: its name, its points in the order of x, and which of the page's colours it has."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    thin: bool = False  # what is shown behind another line


def chart(
    title: str, unit: str, lines: Sequence[Line], across: str, *, from_zero: bool = False
) -> dict[str, Any] | None:
    """A drawing of several lines with common axes; None if there is nothing to draw.

    across: what x is. from_zero: y starts at 0. The `label` has the first and last value of each line in words.
    """
    known = [line for line in lines if line.points]
    if not known:
        return None
    xs = [x for line in known for x, _ in line.points]
    ys = [y for line in known for _, y in line.points]
    low_x, high_x = min(xs), max(xs)
    low, high = _y_range(ys, from_zero=from_zero, least=_LEAST_PERCENT if unit == "%" else 0.0)

    def put(point: Point) -> Point:
        across_share = (point[0] - low_x) / ((high_x - low_x) or 1.0) if high_x > low_x else 0.5
        return (
            _LEFT + across_share * (WIDE - _LEFT - _RIGHT),
            TALL - _BOTTOM - (point[1] - low) / (high - low) * (TALL - _TOP - _BOTTOM),
        )

    return {
        "title": title,
        "unit": unit,
        "across": across,
        "label": f"{title}{f' ({unit})' if unit else ''} over {across}: {'; '.join(map(_words, known))}",
        "lines": [_drawn(line, put) for line in known],
        "rows": [{"at": f"{put((low_x, value))[1]:.1f}", "text": short_number(value)} for value in ticks(low, high)],
        "columns": [
            {"at": f"{put((value, low))[0]:.1f}", "text": short_number(value)}
            for value in (ticks(low_x, high_x, integers=high_x - low_x >= 1) if high_x > low_x else [low_x])
        ],
        "floor": TALL - _BOTTOM,
        "left": _LEFT,
        "right": WIDE - _RIGHT,
    }


def _y_range(ys: Sequence[float], *, from_zero: bool, least: float) -> Point:
    """The lowest and highest y of the drawing: those of the values and a margin; percentages are at least `least` apart."""
    low, high = (0.0 if from_zero and min(ys) >= 0 else min(ys)), max(ys)
    if high - low < least and 0 <= low <= high <= 100:
        middle = min(max((low + high) / 2, least / 2), 100 - least / 2)
        return middle - least / 2, middle + least / 2
    if high > low:
        margin = (high - low) * 0.05
        return (low if from_zero else low - margin), high + margin
    margin = abs(high) * 0.1 or 1.0
    return (low, high + margin) if from_zero else (low - margin, high + margin)


def _drawn(line: Line, put: Any) -> dict[str, Any]:
    points = [put(point) for point in thinned(line.points)]
    return {
        "name": line.name,
        "path": path(points),
        "dots": [{"x": f"{x:.1f}", "y": f"{y:.1f}"} for x, y in points] if len(points) <= 16 and not line.thin else [],
        "colour": line.colour % COLOURS,
        "dashed": line.colour >= COLOURS,
        "thin": line.thin,
    }


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most 600 points, each the mean of as many neighbours; the first and the last stay as they are."""
    if len(points) <= _MOST_POINTS:
        return points
    each = math.ceil((len(points) - 2) / (_MOST_POINTS - 2))
    groups = [points[start : min(start + each, len(points) - 1)] for start in range(1, len(points) - 1, each)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return [points[0], *means, points[-1]]


def _words(line: Line) -> str:
    first, last = (short_number(point[1]) for point in (line.points[0], line.points[-1]))
    return f"{line.name} {first}" if len(line.points) == 1 else f"{line.name} from {first} to {last}"


def ticks(low: float, high: float, *, integers: bool = False) -> list[float]:
    """Round values from low to high: steps of 1, 2 or 5 times a power of ten. integers: no fractions between them."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(step, 1.0) if integers else step
    first = math.ceil(low / step - 1e-9)
    return [(first + number) * step for number in range(int((high + 1e-9 * step) / step - first) + 1)]


def short_number(value: float) -> str:
    """For an axis: `0.002`, `1.2e-05`, `96.5`, `12,000`."""
    if value == 0 or abs(value) < 1e-12:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.3g}"
    if abs(value) < 1000:
        return f"{value:.4g}"
    return f"{value:,.0f}"
