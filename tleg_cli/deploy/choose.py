"""`tleg choose` as a library call: latencies measured at few depths and predicted for the others, and the depth that keeps the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from tleg_cli.deploy.candidates import Candidates
from tleg_cli.deploy.choice import Candidate, Limits, best, mark
from tleg_cli.deploy.engines import Setup, forget_compiled, processor_threads, timed_pass
from tleg_cli.deploy.latency_model import LatencyModel, depths_to_measure, fit_latency
from tleg_cli.deploy.measure_latency import Timing, time_in_turns
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.plan.cost import Cost

_TOGETHER = 3  # networks that are in the memory at once when all depths are measured
_WEIGHT_BYTES = 4  # fp32

Show = Callable[[str, int, int], None]
Say = Callable[[str], None]


class Fit(TypedDict):
    """seconds = fixed + sum of per_block * blocks of each stage. separate: whether each value is known, and not only sums."""

    fixed: float
    per_block: list[float]
    separate: bool


class Choice(TypedDict):
    """The document of `tleg choose --json`. chosen: a depth; None without limits, or if none keeps them.

    processor_share: of the time of measuring, in which this program had a processor; None on a GPU. Below 0.9 the machine was busy.
    """

    file: str
    engine: str
    device: str
    threads: int
    batch_size: int
    image_size: int
    fit: Fit
    limits: Limits
    depths: list[Candidate]
    chosen: str | None
    processor_share: float | None


@dataclass(frozen=True)
class Request:
    """seconds: of measuring a group of networks. check: measure all depths. data: where to score the networks, None to leave it."""

    limits: Limits = field(default_factory=lambda: Limits())
    setup: Setup = field(default_factory=Setup)
    seconds: float = 15.0
    check: bool = False
    data: str | None = None


def choose(candidates: Candidates, file: str, request: Request, show: Show, say: Say) -> Choice:
    """The choice and everything that led to it. show: takes what is being done, how much of it, of how much.

    A depth that is chosen for its latency has been measured: if the prediction was too good, the next one is tried.
    """
    setup, limits, depths = request.setup, request.limits, list(candidates.build)
    costs = candidates.costs()
    with processor_threads(setup.threads) as threads:
        fitted = depths_to_measure(depths)
        timings = _measure(candidates, fitted, setup, request.seconds, show)
        model = fit_latency({depth: timings[depth].median for depth in fitted})
        if request.check:
            others = [depth for depth in depths if depth not in timings]
            for start in range(0, len(others), _TOGETHER):
                group = others[start : start + _TOGETHER]
                timings |= _measure(candidates, group, setup, request.seconds / 2, show)
        scores = {} if request.data is None else candidates.score(request.data, say)
        while True:
            entries = {
                depth: _entry(depth, costs[depth], model, timings.get(depth), depth in fitted) for depth in depths
            }
            for depth, top1 in scores.items():
                entries[depth]["top1"] = top1
            mark([*entries.values()], limits)
            chosen = best([*entries.values()], limits)
            unproven = [depth for depth, one in entries.items() if one is chosen and depth not in timings]
            if "latency" not in limits or not unproven:
                break
            timings |= _measure(candidates, unproven, setup, request.seconds / 3, show)
    return {
        "file": file,
        "engine": setup.engine,
        "device": setup.device,
        "threads": threads,
        "batch_size": setup.batch_size,
        "image_size": candidates.card.input.image_size,
        "fit": {"fixed": model.fixed, "per_block": [*model.per_block], "separate": model.separate},
        "limits": limits,
        "depths": [*entries.values()],
        "chosen": None if chosen is None else chosen["depth"],
        "processor_share": min(one.share for one in timings.values()) if setup.device == "cpu" else None,
    }


def _measure(
    candidates: Candidates, depths: Sequence[Depth], setup: Setup, seconds: float, show: Show
) -> dict[Depth, Timing]:
    what = f"measuring depth {', '.join(map(format_depth, depths))}"
    show(what, 0, round(seconds))
    forget_compiled()
    passes = {depth: timed_pass(candidates.build[depth](), candidates.card, setup) for depth in depths}
    return time_in_turns(passes, seconds, lambda done, of: show(what, done, of))


def _entry(depth: Depth, cost: Cost, model: LatencyModel, timing: Timing | None, fitted: bool) -> Candidate:
    predicted = model.predict(depth)
    return {
        "depth": format_depth(depth),
        "blocks": sum(depth),
        "parameters": cost.parameters,
        "bytes": _WEIGHT_BYTES * cost.parameters,
        "macs": cost.macs,
        "predicted": predicted,
        "measured": None if timing is None else timing.median,
        "p95": None if timing is None else timing.p95,
        "passes": 0 if timing is None else timing.passes,
        "fitted": fitted,
        "latency": predicted if timing is None else timing.median,
        "keeps_limits": True,
    }
