"""What the rows of a comparison say: means with intervals over the seeds, and ranks in which methods may tie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tleg_cli.lab.folder import Row

CONFIDENCE = 0.95
SEEDS = 3  # with fewer, nothing is known about the spread: no interval, no rank


@dataclass(frozen=True)
class Mean:
    """Over the seeds. half: of the width of the 95 % interval; None for fewer than three."""

    mean: float
    half: float | None
    seeds: int


@dataclass(frozen=True)
class Line:
    """One method. at: top-1 by depth; overall: of the mean over the depths; start and epoch_1: that before a network's own training,
    and after one epoch of it. converged: of the protocol's longer budget, if it has one.
    rank: 1 + how many methods are better; None without three complete seeds. stored: parameters of all
    depths together, None while some are missing."""

    method: str
    rank: int | None
    at: dict[str, Mean]
    overall: Mean | None
    start: float | None
    epoch_1: float | None
    converged: Mean | None
    stored: int | None
    block_images: int
    failed: int


def mean_of(values: Sequence[float]) -> Mean:
    """Student's t: with three seeds a bootstrap can't give an interval wider than the seeds themselves."""
    if len(values) < SEEDS:
        return Mean(fmean(values), None, len(values))
    from scipy import stats

    error = float(stats.sem(values))
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Mean(fmean(values), half, len(values))


def lines_of(
    rows: Iterable[Row], methods: Sequence[str], depths: Sequence[str], converged: Sequence[Row] = ()
) -> list[Line]:
    """One line for each method that has a row, best first. converged: the rows of the longer budget."""
    rows = list(rows)
    by_method = {name: [row for row in rows if row["method"] == name] for name in methods}
    complete = {name: _family_means(found, depths, "top1") for name, found in by_method.items()}
    lines = [
        _line(name, found, depths, complete[name], _rank(name, complete)) for name, found in by_method.items() if found
    ]
    for number, line in enumerate(lines):
        long = _family_means([row for row in converged if row["method"] == line.method], depths, "top1")
        lines[number] = replace(line, converged=mean_of(list(long.values())) if long else None)
    return sorted(lines, key=lambda line: -(line.overall.mean if line.overall else float("-inf")))


def _family_means(rows: Sequence[Row], depths: Sequence[str], score: str) -> dict[int, float]:
    """seed -> mean over the depths, of the seeds that have them all."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        value = row.get(score)
        if row["status"] == "done" and isinstance(value, float | int):
            found.setdefault(row["seed"], {})[row["depth"]] = value
    return {seed: fmean(at.values()) for seed, at in sorted(found.items()) if set(at) == set(depths)}


def _rank(name: str, complete: dict[str, dict[int, float]]) -> int | None:
    """1 + how many methods are better: the interval of the difference, paired by seed, is above 0."""
    mine = complete[name]
    if len(mine) < SEEDS:
        return None
    return 1 + sum(_is_better(other, mine) for one, other in complete.items() if one != name)


def _is_better(other: dict[int, float], mine: dict[int, float]) -> bool:
    both = sorted(other.keys() & mine.keys())
    if len(both) < SEEDS:
        return False
    difference = mean_of([other[seed] - mine[seed] for seed in both])
    assert difference.half is not None
    return difference.mean - difference.half > 0


def _line(name: str, rows: Sequence[Row], depths: Sequence[str], complete: dict[int, float], rank: int | None) -> Line:
    done = [row for row in rows if row["status"] == "done"]
    at = {
        depth: mean_of(scores) for depth in depths if (scores := [row["top1"] for row in done if row["depth"] == depth])
    }
    start, first = (list(_family_means(rows, depths, score).values()) for score in ("start", "epoch_1"))
    seed = done[0]["seed"] if done else None
    family = [row for row in done if row["seed"] == seed]
    own = sum(row["parameters"] for row in family if row["trained"])
    return Line(
        name,
        rank,
        at,
        mean_of(list(complete.values())) if complete else None,
        fmean(start) if start else None,
        fmean(first) if first else None,
        None,
        (own or family[0]["source_parameters"]) if {row["depth"] for row in family} == set(depths) else None,
        sum(row["block_images"] for row in family) + max((row["source_block_images"] for row in family), default=0),
        len(rows) - len(done),
    )
