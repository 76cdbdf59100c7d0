"""What is left of adopted learngenes whose blocks are of low rank about their mean, without training.

Each weight matrix of a block is the mean over the blocks plus the nearest matrix of rank r to what is left (truncated SVD, Eckart and
Young 1936); vectors are kept for every block.

python -m benchmarks.low_rank digits runs/adopted/learngene.pt    # of each seed; two minutes on one processor core
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from tleg_cli.api import Learngene, read_learngene, write_learngene

RANKS = (1, 2, 4, 8, 16, 32)
DEPTHS = "3,4,6,9,12"


def low_rank(blocks: Tensor, rank: int) -> tuple[Tensor, int]:
    """(blocks, rows, columns) -> the mean plus residuals of this rank, and how many numbers that stores."""
    mean = blocks.mean(dim=0)
    left, values, right = torch.linalg.svd((blocks - mean).double(), full_matrices=False)
    residual = (left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :]
    count, rows, columns = blocks.shape
    return (mean + residual).to(blocks.dtype), rows * columns + count * rank * (rows + columns)


def compressed(learngene: Learngene, rank: int) -> tuple[Learngene, int]:
    """The learngene with all matrices of its blocks of low rank about their mean; the numbers that a file of it would store."""
    theta, stored = {}, sum(value.numel() for value in learngene.shared.values())
    for name, blocks in learngene.theta.items():
        theta[name], numbers = low_rank(blocks, rank) if blocks.dim() == 3 else (blocks, blocks.numel())
        stored += numbers
    return replace(learngene, theta=theta, network_check=None), stored


def top1(learngene: Path, data: str) -> list[float]:
    """In percent at the depths."""
    words = ("evaluate", learngene, "--data", data, "--device", "cpu", "--depth", DEPTHS, "--json")
    run = subprocess.run([sys.executable, "-m", "tleg_cli", *map(str, words)], check=True, stdout=subprocess.PIPE)
    return [one["top1"] for one in json.loads(run.stdout)["depths"]]


def row(name: str, learngenes: Sequence[Learngene], stored: int, data: str, folder: Path) -> str:
    """A line of the table: the mean over the learngenes at each depth, and the mean over the depths of each."""
    scores = []
    for number, learngene in enumerate(learngenes):
        write_learngene(learngene, folder / f"{name}-{number}.pt")
        scores.append(top1(folder / f"{name}-{number}.pt", data))
    depths = " | ".join(f"{fmean(at):.1f}" for at in zip(*scores, strict=True))
    return f"| {name} | {stored:,} | {depths} | {', '.join(f'{fmean(one):.1f}' for one in scores)} |"


def main(files: Sequence[Path], data: str) -> None:
    """Prints the table."""
    learngenes = [read_learngene(file) for file in files]
    print(f"| | stored | {' | '.join(DEPTHS.split(','))} | mean, each seed |\n|---|---:|{'---:|' * 5}---|")
    with tempfile.TemporaryDirectory() as folder:
        print(row("as it is", learngenes, learngenes[0].parameters(), data, Path(folder)), flush=True)
        for rank in RANKS:
            smaller = [compressed(learngene, rank) for learngene in learngenes]
            print(row(f"rank {rank}", [one for one, _ in smaller], smaller[0][1], data, Path(folder)), flush=True)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[2:]], sys.argv[1])
