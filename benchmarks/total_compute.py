"""Any-depth training against separate networks on the digits, over total compute: trains what is missing, prints one Markdown table.

python -m benchmarks.total_compute runs/total-0 --seed 0        # a seed takes about 70 minutes on one processor core
python -m benchmarks.total_compute runs/total-*                 # the table of several that have run: means, lowest and highest

Total compute: block-epochs (images x blocks / images of an epoch) of ten networks of 3 to 12 blocks, and of one any-depth training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.seeds import spread

DEPTHS = (3, 4, 6, 9, 12)  # of the ten separate networks, those that are trained
BLOCKS = sum(range(3, 13))  # of all ten
SEPARATE = {
    6: ("4e-3", 1),
    12: ("8e-3", 2),
    30: ("2e-3", 2),
    60: ("4e-3", 2),
}  # epochs: rate and warm-up, chosen at depth 6
ANY_DEPTH = (64, 128, 320)  # epochs of seven blocks on average


def tleg(*words: object) -> str:
    """Runs a command of tleg and returns what it prints; a training that has finished before only says so."""
    command = [sys.executable, "-m", "tleg_cli", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(root: Path, seed: int) -> None:
    """Teacher, separate networks and any-depth learngenes of one seed, in folders of root."""
    data, teacher = root / "data", root / "teacher" / "teacher.safetensors"
    common = ["--data", data, "--device", "cpu", "--seed", seed]
    tleg("prepare", "digits", data)
    tleg("train-teacher", "--preset", "digits", *common, "--out", teacher.parent)
    for epochs, (lr, warmup) in SEPARATE.items():
        for depth in DEPTHS:
            values = {"basis": f"piecewise:{depth}", "aux.depth": depth, "aux.lr": lr}
            values |= {"aux.epochs": epochs, "aux.warmup_epochs": warmup}
            settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
            out = root / f"separate-{depth:02d}-{epochs}"
            tleg("train-aux", "--preset", "digits", *settings, *common, "--teacher", teacher, "--out", out)
    for epochs in ANY_DEPTH:
        out = root / f"any-depth-{epochs}"
        preset = ["--preset", "digits-any-depth", "--set", f"aux.epochs={epochs}"]
        tleg("train-aux", *preset, *common, "--teacher", teacher, "--out", out)
        scored = tleg("evaluate", out / "learngene.pt", "--data", data, "--device", "cpu", "--depth", "3-12", "--json")
        (root / f"{out.name}.json").write_text(scored)


def separate(root: Path, epochs: int, depth: int) -> float | None:
    """Top-1 in percent of a separate network; None if it has not been trained."""
    path = root / f"separate-{depth:02d}-{epochs}" / "summary.json"
    return json.loads(path.read_text())["final_top1"] if path.exists() else None


def any_depth(root: Path, epochs: int) -> dict[int, float]:
    """Top-1 in percent over depths 3 to 12; empty if it has not been trained."""
    path = root / f"any-depth-{epochs}.json"
    rows = json.loads(path.read_text())["depths"] if path.exists() else []
    return {int(row["depth"]): row["top1"] for row in rows}


def row(name: str, cost: int, cells: list[list[float]]) -> str:
    """cells: for each depth the scores of all seeds."""
    return f"| {name} | {cost:,} | " + " | ".join(spread(scores) if scores else "" for scores in cells) + " |"


def table(roots: list[Path]) -> list[str]:
    """A row for each length of training: depths in columns, then mean and worst of an any-depth learngene over 3 to 12."""
    heads = [*map(str, DEPTHS), "mean of 3 to 12", "worst of 3 to 12"]
    lines = [f"| | block-epochs | {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) + 1)]
    for epochs in SEPARATE:
        scores = [[separate(root, epochs, depth) for root in roots] for depth in DEPTHS]
        known = [[score for score in cell if score is not None] for cell in scores]
        lines.append(row(f"separate, {epochs} epochs each", BLOCKS * epochs, [*known, [], []]))
    for epochs in ANY_DEPTH:
        found = [one for root in roots if (one := any_depth(root, epochs))]
        over = [[one[depth] for depth in range(3, 13)] for one in found]
        cells = [[one[depth] for one in found] for depth in DEPTHS]
        cells += [[sum(one) / len(one) for one in over], [min(one) for one in over]]
        lines.append(row(f"any depth, {epochs} epochs", 7 * epochs, cells))
    return lines


def main() -> None:
    """Trains one seed, or prints the table of folders that have been trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, help="train this seed into the folder first")
    given = parser.parse_args()
    if given.seed is not None:
        train(given.folders[0], given.seed)
    print("\n".join(table(given.folders)))


if __name__ == "__main__":
    main()
