"""Geometry of the page's drawings: numbers of an inspection to points of an SVG, and nothing about its look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDE = 240.0  # units of every drawing's width; the browser scales them
Point = tuple[float, float]


def trajectory(linearity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The layers on their first two principal components, one unit of weight as long across as up.

    line: the straight line that the linear basis would take, by least squares. None where the layers don't differ.
    """
    pca = linearity["pca"]
    if pca is None:
        return None
    places = [(place[0], place[1] if len(place) > 1 else 0.0) for place in pca["places"]]
    line = _straight(places)
    spread = [*places, *line]
    low = [min(point[axis] for point in spread) for axis in (0, 1)]
    high = [max(point[axis] for point in spread) for axis in (0, 1)]
    scale = (WIDE - 32) / ((high[0] - low[0]) or 1.0)
    tall = min(max((high[1] - low[1]) * scale, 60.0), 150.0)
    scale = min(scale, tall / ((high[1] - low[1]) or 1e-300))
    middle = [(low[axis] + high[axis]) / 2 for axis in (0, 1)]

    def put(point: Point) -> Point:
        return WIDE / 2 + (point[0] - middle[0]) * scale, 16 + tall / 2 - (point[1] - middle[1]) * scale

    last = len(places) - 1
    return {
        "tall": tall + 32,
        "path": path([put(point) for point in places]),
        "line": path([put(point) for point in line]),
        "dots": [dot(number, put(point), last) for number, point in enumerate(places)],
        "explained": pca["explained"][:2],
    }


def dot(layer: int, point: Point, last: int) -> dict[str, Any]:
    """at: from 0 for the first layer to 1 for the last; its colour."""
    return {"x": f"{point[0]:.1f}", "y": f"{point[1]:.1f}", "at": f"{layer / max(last, 1):.3f}", "layer": layer}


def _straight(places: Sequence[Point]) -> list[Point]:
    """Least squares over the number of the layer, from the first layer to the last. places: centred."""
    count = len(places)
    steps = [number - (count - 1) / 2 for number in range(count)]
    total = sum(step * step for step in steps)
    slopes = [sum(step * point[axis] for step, point in zip(steps, places, strict=True)) / total for axis in (0, 1)]
    return [(step * slopes[0], step * slopes[1]) for step in (steps[0], steps[-1])]


def norms(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Norms over depth from 0 up. None without numbers."""
    known = [(number, value) for number, value in enumerate(values) if value is not None]
    top = max((value for _, value in known), default=0.0)
    if not known or top <= 0:
        return None
    across, tall = (WIDE - 24) / max(len(values) - 1, 1), 76.0
    points = [(12 + number * across, 10 + tall * (1 - value / top)) for number, value in known]
    dots = [
        dot(number, point, len(values) - 1) | {"value": value}
        for (number, value), point in zip(known, points, strict=True)
    ]
    floor = 10 + tall
    area = path([(points[0][0], floor), *points, (points[-1][0], floor)]) + "Z"
    return {"tall": tall + 16, "floor": floor, "path": path(points), "area": area, "dots": dots, "top": top}


def ridges(tensors: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Histograms one below the other, one for each layer, on a common axis of values. None if no tensor has a histogram."""
    known = [one for one in tensors if one.get("histogram")]
    if not known:
        return None
    low, high = _range(known)
    step = min(13.0, 170.0 / len(known))
    tall = 26.0
    densities = [_density(one) for one in known]
    peak = max((max(density) for density in densities if len(density) > 1), default=1.0)
    rows = []
    for index, (one, density) in enumerate(zip(known, densities, strict=True)):
        base = tall + 6 + index * step
        points = [
            (20 + (WIDE - 28) * (value - low) / (high - low), base - tall * min(height / peak, 1.0))
            for value, height in _outline(one, density, peak)
            if low <= value <= high
        ]
        if points:
            points = [(points[0][0], base), *points, (points[-1][0], base)]
        layer = one["layer"] if one["layer"] is not None else one.get("part") or ""
        at = index / max(len(known) - 1, 1)
        rows.append(
            {"path": path(points), "base": f"{base:.1f}", "label": layer, "at": f"{at:.3f}", "name": one["name"]}
        )
    every = math.ceil(len(rows) / 14)  # labels would cover each other
    for index, row in enumerate(rows):
        row["shown"] = index % every == 0
    zero = 20 + (WIDE - 28) * (0 - low) / (high - low) if low < 0 < high else None
    return {"tall": tall + 6 + (len(known) - 1) * step + 18, "rows": rows, "low": low, "high": high, "zero": zero}


def _range(tensors: Sequence[Mapping[str, Any]]) -> Point:
    """All values, but not further than 4 standard deviations from the mean: a single one would squeeze the rest."""
    low = min(max(one["min"], one["mean"] - 4 * one["std"]) for one in tensors)
    high = max(min(one["max"], one["mean"] + 4 * one["std"]) for one in tensors)
    margin = abs(low) * 0.1 or 1.0
    return (low, high) if high > low else (low - margin, high + margin)


def merged_counts(tensor: Mapping[str, Any]) -> list[int]:
    """Few numbers in many bins are a comb: then neighbours are taken together, down to 8 bins."""
    counts = tensor["histogram"]
    together = next((n for n in (1, 2, 3, 4) if sum(counts) * n >= 20 * len(counts)), 6)
    if len(counts) % together:
        return list(counts)
    return [sum(counts[start : start + together]) for start in range(0, len(counts), together)]


def _density(tensor: Mapping[str, Any]) -> list[float]:
    counts = merged_counts(tensor)
    width = (tensor["max"] - tensor["min"]) / len(counts)
    return [count / (sum(counts) * width) if width > 0 else 1.0 for count in counts]


def _outline(tensor: Mapping[str, Any], density: Sequence[float], peak: float) -> list[Point]:
    """Middles of the bins; where all numbers are equal, a needle."""
    low, high = tensor["min"], tensor["max"]
    if len(density) < 2:
        return [(low, 0.0), (low, peak), (low, 0.0)]
    width = (high - low) / len(density)
    return [(low, 0.0), *((low + (n + 0.5) * width, height) for n, height in enumerate(density)), (high, 0.0)]


def spark(tensor: Mapping[str, Any]) -> str:
    """A histogram as a small filled path, 60 by 16 units; "" where there is none."""
    counts = tensor.get("histogram") or ()
    if len(counts) < 2:
        return ""
    top, across = max(counts), 60 / (len(counts) - 1)
    points = [(number * across, 16 - 15 * count / top) for number, count in enumerate(counts)]
    return path([(0.0, 16.0), *points, (60.0, 16.0)]) + "Z"


def path(points: Sequence[Point]) -> str:
    """`M1 2L3 4`: the d of an SVG path."""
    return "".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
