"""From how many depths on a method is cheaper than separate networks of the same accuracy, and accuracy over compute.

Separate networks are those of method `distilled`, with the same teacher. What they would cost at an accuracy is read from their scores
after each epoch. These are scores in the middle of a cosine: a training planned to end there would score higher, so that the cost of
separate networks is overestimated, and the break-even point is optimistic for the other methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tleg_cli.lab.folder import Row

BASELINE = "distilled"
_BATCHES = 0.1  # of a depth: incomplete batches are left out of every training, which must not count as a depth


@dataclass(frozen=True)
class BreakEven:
    """depths: the smallest number from which on the method is cheaper; None if it never is. at_most: separate networks didn't reach the
    method's accuracy at some depth within their budget, and `depths` may be smaller."""

    method: str
    depths: int | None
    at_most: bool


@dataclass(frozen=True)
class Curve:
    """Accuracy over compute. points: (block-images of the complete family, mean top-1 over depths and seeds), ascending."""

    method: str
    points: tuple[tuple[float, float], ...]


def break_evens(rows: Sequence[Row], methods: Sequence[str], depths: Sequence[str]) -> list[BreakEven]:
    """Of every method with results at all depths; nothing without a baseline."""
    if any(not _done(rows, BASELINE, depth) for depth in depths):
        return []
    found = []
    for method in methods:
        if method == BASELINE or any(not _done(rows, method, depth) for depth in depths):
            continue
        own, alone, bounded = [], [], False
        for depth in depths:
            mine = _done(rows, method, depth)
            own.append(fmean(row["block_images"] for row in mine))
            cost, reached = _cost_alone(_done(rows, BASELINE, depth), fmean(row["top1"] for row in mine))
            alone.append(cost)
            bounded |= not reached
        source = max(row["source_block_images"] for row in _done(rows, method, depths[0]))
        gain = fmean(alone) - fmean(own)  # for each further depth
        found.append(BreakEven(method, max(1, math.ceil(source / gain - _BATCHES)) if gain > 0 else None, bounded))
    return found


def curve_of(rows: Sequence[Row], method: str, depths: Sequence[str]) -> Curve | None:
    """None unless every depth has a result. The first point is after the source, if there is one."""
    by_depth = [_done(rows, method, depth) for depth in depths]
    if not all(by_depth):
        return None
    source = max(row["source_block_images"] for row in by_depth[0])
    starts = [row["start"] for mine in by_depth for row in mine if row["start"] is not None]
    points = [(float(source), fmean(starts))] if len(starts) == sum(map(len, by_depth)) else []
    for epoch in range(min(len(row["epochs"]) for mine in by_depth for row in mine)):
        spent = source + sum(
            min(
                mine[0].get("mixing_block_images", 0) + (epoch + 1) * mine[0]["epoch_block_images"],
                mine[0]["block_images"],
            )
            for mine in by_depth
        )
        points.append((float(spent), fmean(row["epochs"][epoch] for mine in by_depth for row in mine)))
    return Curve(method, tuple(points))


def _cost_alone(rows: Sequence[Row], accuracy: float) -> tuple[float, bool]:
    """(block-images, whether they suffice) for a separate network of this accuracy: the first epoch whose mean reaches it."""
    for epoch in range(min(len(row["epochs"]) for row in rows)):
        if fmean(row["epochs"][epoch] for row in rows) >= accuracy:
            return float(min((epoch + 1) * rows[0]["epoch_block_images"], rows[0]["block_images"])), True
    return float(rows[0]["block_images"]), False


def _done(rows: Sequence[Row], method: str, depth: str) -> list[Row]:
    return [row for row in rows if row["status"] == "done" and row["method"] == method and row["depth"] == depth]
