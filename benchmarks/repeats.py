"""Which blocks of adopted learngenes can be repeated, without training: top-1 with each block twice, and with all of some of them.

A block that is taken n times adds 1 / n of what it would add.

python -m benchmarks.repeats digits runs/adopted/learngene.pt    # a minute on one processor core for each file
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tleg_cli.api import Learngene, mix_blocks, read_learngene
from tleg_cli.learngene.basis import get_basis
from tleg_cli.models.descendant import descendant_card
from tleg_cli.models.model_file import write_model


def top1(learngene: Learngene, times: Sequence[int], data: str, file: Path) -> float:
    """In percent, of the network that takes block b `times[b]` times."""
    taken = [block for block, number in enumerate(times) for _ in range(number)]
    weights = mix_blocks(learngene, len(taken), lambda _, trained: _rows(taken, trained), step="repeats")
    metadata = learngene.metadata
    card = descendant_card(learngene, (len(taken),), metadata.classes, metadata.class_names, metadata.input.crop_pct)
    write_model(file, weights, card)
    words = ("evaluate", file, "--data", data, "--device", "cpu", "--json")
    run = subprocess.run([sys.executable, "-m", "tleg_cli", *map(str, words)], check=True, stdout=subprocess.PIPE)
    return float(json.loads(run.stdout)["top1"])


def _rows(taken: Sequence[int], trained: int) -> Tensor:
    return torch.eye(trained, dtype=torch.float64)[list(taken)]


def main(files: Sequence[Path], data: str) -> None:
    """Prints three lines for each file."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            learngene, network = read_learngene(file), Path(folder) / "network.safetensors"
            blocks = learngene.metadata.depth[0]
            once = [1] * blocks
            alone = [
                top1(learngene, [1 + (one == block) for one in range(blocks)], data, network) for block in range(blocks)
            ]
            print(f"{file}: {top1(learngene, once, data, network):.1f} as it is")
            print(f"  one block twice: {', '.join(f'{score:.1f}' for score in alone)}")
            first_once = (
                get_basis(f"ranked:{'-'.join(map(str, range(blocks)))}").matrix(2 * blocks).sum(0).int().tolist()
            )
            print(
                f"  {2 * blocks} blocks: {top1(learngene, [2] * blocks, data, network):.1f} of each twice, "
                f"{top1(learngene, first_once, data, network):.1f} of the first once and the others repeated",
                flush=True,
            )


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[2:]], sys.argv[1])
