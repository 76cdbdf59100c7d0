"""Latency of a network as `fixed + per block`: fitted to a few measured depths, it predicts all others.

The blocks of a stage are alike, so each adds the same time; patch embedding, head and the call itself are the fixed part:

    seconds(d) = fixed + sum_s per_block_s * d_s        d_s: blocks of stage s

Only the stages that differ between the depths of interest get a term; the others belong to the fixed part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tleg_cli.learngene.depths import Depth

_SAME = 1e-9  # of the length of a row, below which it depends on the rows before it


@dataclass(frozen=True)
class LatencyModel:
    """fixed: seconds. per_block: seconds of one block of each stage, 0.0 for a stage that doesn't differ between the depths.

    separate: whether each value is known by itself. If stages only change together, just the sums are.
    """

    fixed: float
    per_block: tuple[float, ...]
    separate: bool = True

    def predict(self, depth: Depth) -> float:
        """Seconds of one batch at `depth`."""
        return self.fixed + sum(each * blocks for each, blocks in zip(self.per_block, depth, strict=True))


def fit_latency(measured: Mapping[Depth, float]) -> LatencyModel:
    """Least squares on relative errors, so that a shallow network counts as much as a deep one.

    measured: seconds by depth, of at least one depth. Of two depths that differ in one stage the line goes through both.
    """
    depths = list(measured)
    varying = _varying(depths)
    rows = np.array([[1.0, *(depth[stage] for stage in varying)] for depth in depths])
    seconds = np.array([measured[depth] for depth in depths])
    found, _, rank, _ = np.linalg.lstsq(rows / seconds[:, None], np.ones(len(depths)), rcond=None)
    per_block = [0.0] * len(depths[0])
    for stage, value in zip(varying, found[1:], strict=True):
        per_block[stage] = float(value)
    return LatencyModel(float(found[0]), tuple(per_block), bool(rank == len(varying) + 1))


def depths_to_measure(depths: Sequence[Depth]) -> list[Depth]:
    """The depths that decide the fit, and one between them: in one stage the shallowest, the deepest, and the middle.

    Each is the one that is furthest from what the chosen ones determine already. In the order of `depths`.
    """
    varying = _varying(depths)
    rows = np.array([[1.0, *(depth[stage] for stage in varying)] for depth in depths])
    rest, chosen = rows.copy(), []
    for _ in range(len(varying) + 1):
        lengths = np.linalg.norm(rest, axis=1)
        index = int(lengths.argmax())
        if lengths[index] <= _SAME * np.linalg.norm(rows[index]):
            break
        direction = rest[index] / lengths[index]
        rest = rest - np.outer(rest @ direction, direction)
        chosen.append(index)
    distance = np.linalg.norm(rows - rows[chosen].mean(axis=0), axis=1)
    between = [int(index) for index in distance.argsort(kind="stable") if index not in chosen]
    return [depths[index] for index in sorted([*chosen, *between[:1]])]


def _varying(depths: Sequence[Depth]) -> list[int]:
    """The stages in which the depths differ."""
    return [stage for stage, blocks in enumerate(zip(*depths, strict=True)) if len(set(blocks)) > 1]
