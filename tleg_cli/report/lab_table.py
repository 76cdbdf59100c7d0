"""A comparison of `tleg lab` as a table for the terminal, as CSV and as LaTeX."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tleg_cli.lab.latency import QUIET, Latency
from tleg_cli.lab.results import Line, Mean
from tleg_cli.lab.study import Cell
from tleg_cli.lab.tune import Trial, best_of
from tleg_cli.learngene.depths import format_depth
from tleg_cli.report.output import print_line, print_table
from tleg_cli.report.units import short

_RULE = (
    "Top-1 in percent on the test images, mean over the seeds. mean: over the depths, with a 95 % interval over the seeds "
    "(Student's t). start: before a network's own training; 1 epoch: after one epoch of it. Methods tie unless the interval of "
    "their difference, paired by seed, leaves out 0. stored: parameters that all depths together need."
)
_CONVERGED = "converged: the mean over the depths at the protocol's longer budget."


def print_lab(lines: Sequence[Line], depths: Sequence[str], title: str) -> None:
    """The table, best method first, and what its columns mean."""
    print_table(title, _columns(lines, depths), _rows(lines, depths))
    for text in _wrapped(f"{_RULE} {_CONVERGED}" if _has_converged(lines) else _RULE):
        print_line(text)


def print_latency(latency: Latency) -> None:
    """Milliseconds of one image at each depth, the same for all methods."""
    times = [f"{1000 * seconds:.2f}" for seconds in latency.seconds.values()]
    threads = f", {latency.threads} thread{'s' * (latency.threads > 1)}" if latency.device == "cpu" else ""
    print_line()
    print_table(f"latency of one image in milliseconds ({latency.device}{threads})", [*latency.seconds], [times])
    if latency.share is not None and latency.share < QUIET:
        print_line(
            f"warning: the machine was busy: this process had a processor for {100 * latency.share:.0f} % of the time, and "
            "these times are too long"
        )


def lab_csv(
    lines: Sequence[Line], depths: Sequence[str], evens: Mapping[str, int | None] = MappingProxyType({})
) -> str:
    """One row for each method; of every score mean and half the width of its interval. evens: break-even number of depths."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    scores = [column for depth in (*depths, "mean") for column in (f"top1_{depth}", f"half_interval_{depth}")]
    writer.writerow(
        [
            "rank",
            "method",
            "seeds",
            *scores,
            "start",
            "epoch_1",
            "converged",
            "break_even_depths",
            "stored_parameters",
            "block_images",
            "failed",
        ]
    )
    for line in lines:
        means = [*(line.at.get(depth) for depth in depths), line.overall]
        cells = [value for mean in means for value in ((mean.mean, mean.half) if mean else (None, None))]
        seeds = line.overall.seeds if line.overall else 0
        long, even = line.converged, evens.get(line.method)
        rest = (
            line.start, line.epoch_1, long.mean if long else None, even, line.stored, line.block_images, line.failed,
        )  # fmt: skip
        writer.writerow([line.rank, line.method, seeds, *cells, *rest])
    return out.getvalue()


def lab_markdown(lines: Sequence[Line], depths: Sequence[str]) -> str:
    """The table of the terminal, as documents have it."""
    columns, rows = _columns(lines, depths), _rows(lines, depths)
    head = f"| {' | '.join(columns)} |\n|---:|---|{'---:|' * (len(columns) - 2)}\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def trials_markdown(trials: Sequence[Trial]) -> str:
    """Every trial of a method in one row: top-1 by the factor of its rates, and the rates that are best."""
    factors = sorted({trial.factor for trial in trials})
    lines = [f"| method | {' | '.join(f'x {factor:g}' for factor in factors)} | best rates: source, network |"]
    lines.append(f"|---|{'---:|' * (len(factors) + 1)}")
    for method in dict.fromkeys(trial.method for trial in trials):
        mine = {trial.factor: trial for trial in trials if trial.method == method}
        scores = [_number(mine[factor].top1) if factor in mine else "-" for factor in factors]
        best = best_of([*mine.values()])
        rates = ["-" if rate is None else f"{rate:g}" for rate in (best.source_lr, best.target_lr)] if best else ["-"]
        lines.append(f"| {method} | {' | '.join(scores)} | {', '.join(rates)} |")
    return "\n".join(lines) + "\n"


def lab_latex(lines: Sequence[Line], depths: Sequence[str]) -> str:
    """A tabular for a paper, with booktabs' rules."""
    head = " & ".join(["method", *depths, "mean"])
    body = [
        " & ".join(
            [line.method, *(_score(line.at.get(depth)) for depth in depths), _with_interval(line.overall, "$\\pm$")]
        )
        for line in lines
    ]
    rows = "".join(f"{row} \\\\\n" for row in body)
    form = "l" + "r" * (len(depths) + 1)
    return f"\\begin{{tabular}}{{{form}}}\n\\toprule\n{head} \\\\\n\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"


def costs_of(cells: Sequence[Cell]) -> list[dict[str, str | int | None]]:
    """What every cell would train, and the source that it shares with the other depths of its method."""
    return [
        {
            "method": cell.method.name,
            "depth": format_depth(cell.depth),
            "seed": cell.seed,
            "source_steps": sum(source.steps for source in cell.sources) if cell.sources else None,
            "source_block_images": cell.source_block_images if cell.sources else None,
            "steps": sum(training.steps for training in cell.own),
            "block_images": cell.block_images,
        }
        for cell in cells
    ]


def print_costs(costs: Sequence[Mapping[str, str | int | None]], budget: float, trained: int) -> None:
    """budget: of the complete family, block-images. trained: in all, each source once."""
    rows = [
        [f"{value:,}" if isinstance(value, int) else "-" if value is None else value for value in cost.values()]
        for cost in costs
    ]
    columns = ["method", "depth", "seed", "source steps", "its block-images", "steps", "block-images"]
    print_table(f"{len(costs)} cells; a family may cost {budget:,.0f} block-images", columns, rows)
    for text in _wrapped(
        f"{trained:,} block-images are trained in all. Methods that share a source train it once, but each is charged for it."
    ):
        print_line(text)


def print_trials(trials: Sequence[Trial], tuned: Path) -> None:
    """Every trial, and the file of the protocol that has the best rates."""
    rows = [
        [
            trial.method,
            f"{trial.factor:g}",
            "-" if trial.source_lr is None else f"{trial.source_lr:g}",
            "-" if trial.target_lr is None else f"{trial.target_lr:g}",
            "failed" if trial.top1 is None else f"{trial.top1:.1f}",
        ]
        for trial in trials
    ]
    first = trials[0]
    title = f"trials of seed {first.seed} at depth {first.depths} on {first.held_out} held-out training images"
    print_table(title, ["method", "factor", "source lr", "lr", "top-1"], rows)
    print_line(f"the best rates are in {tuned}; run `{shlex.join(['tleg', 'lab', str(tuned)])}`")


def _has_converged(lines: Sequence[Line]) -> bool:
    return any(line.converged for line in lines)


def _columns(lines: Sequence[Line], depths: Sequence[str]) -> list[str]:
    return ["rank", "method", *depths, "mean", "start", "1 epoch", *(["converged"] * _has_converged(lines)), "stored"]


def _rows(lines: Sequence[Line], depths: Sequence[str]) -> list[list[str]]:
    return [_cells(line, depths, converged=_has_converged(lines)) for line in lines]


def _cells(line: Line, depths: Sequence[str], *, converged: bool) -> list[str]:
    return [
        "-" if line.rank is None else str(line.rank),
        line.method,
        *(_score(line.at.get(depth)) for depth in depths),
        _with_interval(line.overall),
        _number(line.start),
        _number(line.epoch_1),
        *([_with_interval(line.converged)] if converged else []),
        "-" if line.stored is None else short(line.stored),
    ]


def _score(mean: Mean | None) -> str:
    return "-" if mean is None else f"{mean.mean:.1f}"


def _with_interval(mean: Mean | None, sign: str = "±") -> str:
    if mean is None or mean.half is None:
        return _score(mean)
    return f"{mean.mean:.1f} {sign} {mean.half:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 80)
