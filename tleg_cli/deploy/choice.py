"""Which of several depths to use: limits, the Pareto front, and why none is left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypedDict

from typing_extensions import NotRequired


class Limits(TypedDict, total=False):
    """What the network must keep: seconds of a batch, bytes and multiply-adds at most, top-1 in percent at least."""

    latency: float
    bytes: float
    macs: float
    top1: float


class Candidate(TypedDict):
    """One depth. Latencies are seconds of one batch: predicted by the fit; measured (median and p95); and the one that counts.

    bytes: of the weights in fp32. macs: multiply-adds of one image. fitted: whether the fit was given its measurement.
    top1: percent. front: no other depth is as fast and as accurate, and better in one of both.
    """

    depth: str
    blocks: int
    parameters: int
    bytes: int
    macs: int
    predicted: float
    measured: float | None
    p95: float | None
    passes: int
    fitted: bool
    latency: float
    keeps_limits: bool
    top1: NotRequired[float]
    front: NotRequired[bool]


def mark(candidates: Sequence[Candidate], limits: Limits) -> None:
    """Sets keeps_limits, and front where there are scores."""
    for one in candidates:
        one["keeps_limits"] = not broken_limits(one, limits)
        if "top1" in one:
            one["front"] = not any(_dominates(other, one) for other in candidates)


def best(candidates: Sequence[Candidate], limits: Limits) -> Candidate | None:
    """The most accurate of those that keep all limits, the fastest of equals; without scores the one of most multiply-adds.

    With a limit for the accuracy, the fastest: accurate enough is enough. None without limits, or if none keeps them.
    """
    left = [one for one in candidates if one["keeps_limits"]] if limits else []
    if not left:
        return None
    if "top1" in limits:
        return min(left, key=lambda one: one["latency"])
    if "top1" in left[0]:
        return max(left, key=lambda one: (one["top1"], -one["latency"]))
    return max(left, key=lambda one: one["macs"])


def broken_limits(one: Candidate, limits: Limits) -> list[str]:
    """The names of the limits that a depth doesn't keep."""
    return [name for name in limits if _excess(one, name, limits) > 0]


def why_none(candidates: Sequence[Candidate], limits: Limits) -> tuple[str, Candidate] | None:
    """The first limit that no depth keeps, with the depth that is nearest to it; None if each limit alone can be kept."""
    for name in limits:
        nearest = min(candidates, key=partial(_excess, name=name, limits=limits))
        if _excess(nearest, name, limits) > 0:
            return name, nearest
    return None


def _excess(one: Candidate, name: str, limits: Limits) -> float:
    """By how much a depth is over a limit, or below that of the accuracy."""
    if name == "top1":
        return limits["top1"] - one["top1"]
    return float(one[name] - limits[name])  # type: ignore[literal-required]


def _dominates(other: Candidate, one: Candidate) -> bool:
    as_good = other["latency"] <= one["latency"] and other["top1"] >= one["top1"]
    return as_good and (other["latency"] < one["latency"] or other["top1"] > one["top1"])
