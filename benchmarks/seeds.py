"""The quickstart over several seeds as one Markdown table: mean and, in brackets, the lowest and highest of each figure.

for seed in 0 1 2; do SEED=$seed RUN=runs/seed-$seed ./quickstart.sh; done
python benchmarks/seeds.py runs/seed-*/summary.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path


def spread(values: Sequence[float]) -> str:
    """`95.6 (95.2 to 96.4)`"""
    return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def table(summaries: Sequence[dict]) -> list[str]:
    """One row for each depth."""
    families = [{one["depth"]: one for one in summary["descendants"]} for summary in summaries]
    lines = [
        "| depth | with no further training | after 1 epoch | after 10 epochs | from scratch, 1 epoch | from scratch, 10 epochs |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for depth in families[0]:
        runs = [family[depth] for family in families]
        cells = [
            [run["zero_epoch_top1"] for run in runs],
            *([run[key][at] for run in runs] for key in ("top1", "scratch_top1") for at in (0, -1)),
        ]
        lines.append(f"| {depth} | " + " | ".join(map(spread, cells)) + " |")
    return lines


def main() -> None:
    """Reads the files named on the command line."""
    summaries = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if not summaries:
        sys.exit(__doc__)
    print(f"aux net, depth {summaries[0]['aux']['depth']}: {spread([one['aux']['top1'] for one in summaries])} %")
    print(f"seconds: {spread([one['seconds'] for one in summaries])}\n")
    print("\n".join(table(summaries)))


if __name__ == "__main__":
    main()
