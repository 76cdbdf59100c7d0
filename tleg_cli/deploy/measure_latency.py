"""Latency of several networks, measured fairly: they take turns, so that a slow minute of the machine hits all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tleg_cli.deploy.engines import Pass

K = TypeVar("K", bound=Hashable)

_WARM_UP = (2, 0.2)  # passes and seconds of each network before anything is counted
_TURN = (50, 0.1)  # passes and seconds after which it is the next network's turn
_MIN_ROUNDS = 3
_ENOUGH = 2000  # passes of each network after which more would change nothing


@dataclass(frozen=True)
class Timing:
    """Of one network. median, p95: seconds of one batch. passes: how many were timed.

    share: of the time, in which this thread had a processor: on a quiet machine nearly 1, unless it waits for a GPU.
    """

    median: float
    p95: float
    passes: int
    share: float = 1.0


def time_in_turns(
    passes: Mapping[K, Pass], seconds: float, show: Callable[[int, int], None] = lambda done, of: None
) -> dict[K, Timing]:
    """Times each network in rounds until `seconds` are over, at least 3 rounds. show: takes seconds that are done, and of how many.

    In each round every network has one turn: one pass that is not counted, then as many as fit into a tenth of a second.
    """
    began = time.monotonic()
    for one in passes.values():
        _run_for(one, *_WARM_UP)
    found: dict[K, list[float]] = {key: [] for key in passes}
    spent = dict.fromkeys(passes, (0.0, 0.0))  # seconds of this thread on a processor, seconds in all
    order, rounds, gone = list(passes), 0, 0.0
    while rounds < _MIN_ROUNDS or (gone < seconds and min(map(len, found.values())) < _ENOUGH):
        for key in order if rounds % 2 == 0 else reversed(order):
            clocks = time.thread_time(), time.monotonic()
            passes[key]()  # brings the weights into the cache
            found[key] += _run_for(passes[key], 1, _TURN[1], most=_TURN[0])
            here, all_in_all = spent[key]
            spent[key] = here + time.thread_time() - clocks[0], all_in_all + time.monotonic() - clocks[1]
        rounds, gone = rounds + 1, time.monotonic() - began
        show(min(round(gone), round(seconds)), round(seconds))
    return {key: timing_of(samples, spent[key][0] / max(spent[key][1], 1e-9)) for key, samples in found.items()}


def _run_for(one: Pass, least: int, seconds: float, most: float = math.inf) -> list[float]:
    """The seconds of each pass: at least so many passes, then until the time is over or there are `most`."""
    end, samples = time.monotonic() + seconds, [one()]
    while len(samples) < least or (time.monotonic() < end and len(samples) < most):
        samples.append(one())
    return samples


def timing_of(samples: list[float], share: float = 1.0) -> Timing:
    """Median and 95th percentile (the nearest rank) of the seconds of single passes."""
    ordered = sorted(samples)
    return Timing(statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], len(ordered), share)
