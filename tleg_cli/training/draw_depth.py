"""Which depth each step of an any-depth stage 1 trains at: a function of seed and step, so that every rank and every resumed run agree."""

from __future__ import annotations

import hashlib
import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tleg_cli.learngene.depths import Depth

_BITS = 53  # of a float's mantissa


@dataclass(frozen=True)
class DepthDraw:
    """depths: what is drawn from. shares: how often each is, as relative weights. scored: the depths that each epoch scores."""

    depths: tuple[Depth, ...]
    shares: tuple[float, ...]
    seed: int
    scored: tuple[Depth, ...] = ()

    def at(self, step: int) -> Depth:
        """The depth of a step, counted from 0; all micro-batches of a step have the same."""
        digest = hashlib.sha256(f"depth {self.seed} {step}".encode()).digest()
        uniform = (int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / 2**_BITS
        marks = list(itertools.accumulate(self.shares))
        return self.depths[min(bisect_right(marks, uniform * marks[-1]), len(self.depths) - 1)]

    @property
    def all(self) -> tuple[Depth, ...]:
        """Every depth at which the network is trained or scored."""
        return tuple(dict.fromkeys((*self.depths, *self.scored)))

    def mean(self, costs: Sequence[float]) -> float:
        """The cost of an average step. costs: of each of `depths`, in their order."""
        return sum(share * cost for share, cost in zip(self.shares, costs, strict=True)) / sum(self.shares)


def shares_of(rule: str, depths: Sequence[Depth]) -> tuple[float, ...]:
    """uniform: every depth as often; shallow: in proportion to 1 / blocks, so that all depths cost the same together; deepest:
    half of the steps at the deepest, the others at the rest."""
    if rule == "deepest":
        deepest = max(depths, key=sum)
        return tuple(float(max(1, len(depths) - 1)) if depth == deepest else 1.0 for depth in depths)
    return tuple(1.0 if rule == "uniform" else 1 / sum(depth) for depth in depths)


def reference_depth(depths: Sequence[Depth]) -> Depth:
    """The depth at which the residual step is 1: the geometric mean of the shallowest and the deepest, stage by stage."""
    stages = list(zip(*depths, strict=True))
    return tuple(max(1, round(math.sqrt(min(stage) * max(stage)))) for stage in stages)
