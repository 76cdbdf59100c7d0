"""`tleg --help` against `python -c "import typer, rich"`, run in turn: the ratio of the medians, which should be at most 1.35.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15


def seconds(command: list[str]) -> float:
    """Of one run of `command`."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Prints both medians and their ratio."""
    tleg = [str(Path(sys.executable).parent / "tleg"), "--help"]
    base = [sys.executable, "-c", "import typer, rich"]
    pairs = [(seconds(tleg), seconds(base)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"tleg --help {1000 * ours:.0f} ms, import typer, rich {1000 * theirs:.0f} ms: {ours / theirs:.2f} times")


if __name__ == "__main__":
    main()
