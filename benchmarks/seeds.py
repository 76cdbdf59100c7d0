"""The quickstart over several seeds as one Markdown table: mean and, in brackets, the lowest and highest of each figure.

for seed in 0 1 2; do SEED=$seed RUN=runs/seed-$seed ./quickstart.sh; done
python benchmarks/seeds.py runs/seed-*/summary.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

COLUMNS = ("untrained_top1", "tleg_untrained_top1", "separate_top1")


def spread(values: Sequence[float]) -> str:
    """`95.6 (95.2 to 96.4)`"""
    return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(summaries: Sequence[dict]) -> list[str]:
    """One row for each depth; a dash where no network was trained separately."""
    by_depth = [{one["depth"]: one for one in summary["depths"]} for summary in summaries]
    lines = ["| depth | one any-depth learngene | TLEG as published | trained separately |", "|---:|---:|---:|---:|"]
    for depth in by_depth[0]:
        scores = [[run[depth][column] for run in by_depth] for column in COLUMNS]
        cells = [spread(values) if None not in values else "-" for values in scores]
        lines.append(f"| {depth} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Reads the files named on the command line."""
    summaries = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if not summaries:
        sys.exit(__doc__)
    means = [
        sum(one["untrained_top1"] for one in summary["depths"] if 3 <= one["depth"] <= 12) / 10 for summary in summaries
    ]
    print(f"any depth, mean over depths 3 to 12: {spread(means)} %")
    print(f"seconds: {spread([one['seconds'] for one in summaries])}")
    for name, cost in summaries[0]["costs"].items():
        print(f"{name}: {cost['networks']} trainings, {cost['block_images'] / 1e6:.1f} M images x blocks")
    print("\n" + "\n".join(table(summaries)))


if __name__ == "__main__":
    main()
