"""What is left of learngenes in smaller files, without training: `tleg compress` for several shares, the mean over the files.

python -m benchmarks.low_rank digits runs/adopted/learngene.pt    # of each seed; three minutes on one processor core
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

SHARES = "0.15,0.2,0.25,0.3,0.4,0.5"
DEPTHS = "3,4,6,9,12"


def compressed(file: Path, data: str, folder: Path) -> list[dict[str, Any]]:
    """What `tleg compress --json` says of the learngene and of every share, in float32 and in float16."""
    found = []
    for more in ((), ("--half",)):
        out = folder / f"{file.parent.name}{''.join(more)}"
        words = ["compress", file, out, "--keep", SHARES, "--data", data, "--depth", DEPTHS, *more]
        words += ["--device", "cpu", "--json"]
        run = subprocess.run([sys.executable, "-m", "tleg_cli", *map(str, words)], check=True, stdout=subprocess.PIPE)
        files = json.loads(run.stdout)["files"]
        found += files[bool(more) :]
    return found


def main(files: Sequence[Path], data: str) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        each = [compressed(file, data, Path(folder)) for file in files]
    print(f"| | values | file | {' | '.join(DEPTHS.split(','))} | mean, each seed |\n|---|---:|---:|{'---:|' * 5}---|")
    for rows in zip(*each, strict=True):
        first = rows[0]
        half = " --half" if first["file"].partition("--half")[1] else ""
        name = "as it is" if first["keep"] is None else f"`--keep {first['keep']:g}{half}`"
        depths = " | ".join(f"{fmean(row['scores'][depth] for row in rows):.1f}" for depth in DEPTHS.split(","))
        means = ", ".join(f"{fmean(row['scores'].values()):.1f}" for row in rows)
        print(f"| {name} | {first['values']:,} | {first['bytes'] / 1e6:.2f} MB | {depths} | {means} |")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[2:]], sys.argv[1])
