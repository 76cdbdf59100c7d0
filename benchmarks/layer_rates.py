"""`tleg adopt` with lower learning rates for lower blocks, which it doesn't offer: is it better?

Block l of L moves `decay ** (L - 1 - l)` of what the optimiser would move it.

python -m benchmarks.layer_rates digits original.safetensors 0 1e-3 runs/layer-rates    # seed 0; four minutes on one processor core
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.cli import app
from tleg_cli.models.aux_net import AuxNet
from tleg_cli.training import optim, state

DECAYS = (1.0, 0.9, 0.75)
RECIPE = ("aux.epochs=30", "aux.warmup_epochs=1", "data.workers=0")  # docs/adopt.md


def slow_down(optimizer: torch.optim.Optimizer, thetas: list[Tensor], decay: float) -> None:
    """theta: (blocks, *shape). What a step does to block l is multiplied by its share."""
    before: list[Tensor] = []

    def remember(*_: Any) -> None:
        before[:] = [theta.detach().clone() for theta in thetas]

    def shorten(*_: Any) -> None:
        with torch.no_grad():
            for theta, old in zip(thetas, before, strict=True):
                share = decay ** torch.arange(len(theta) - 1, -1, -1.0)
                theta.copy_(old + share.view(-1, *[1] * (theta.ndim - 1)) * (theta - old))

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(shorten)


def adopt(network: str, data: str, seed: str, lr: str, out: Path, decay: float) -> list[float]:
    """Top-1 in percent at depths 3 to 12."""

    def make(model: nn.Module, *words: Any, **more: Any) -> torch.optim.Optimizer:
        made = optim.make_optimizer(model, *words, **more)
        if isinstance(model, AuxNet) and decay != 1:
            slow_down(made, list(model.theta.values()), decay)
        return made

    state.make_optimizer = make  # type: ignore[assignment]
    settings = [word for setting in (*RECIPE, f"aux.lr={lr}") for word in ("--set", setting)]
    where = ["--preset", "digits", "--data", data, "--device", "cpu", "--depths", "3-12", "--seed", seed]
    app(["adopt", network, *where, *settings, "--out", str(out)], standalone_mode=False)
    words = ("evaluate", out / "learngene.pt", "--data", data, "--device", "cpu", "--depth", "3-12", "--json")
    run = subprocess.run([sys.executable, "-m", "tleg_cli", *map(str, words)], check=True, stdout=subprocess.PIPE)
    return [one["top1"] for one in json.loads(run.stdout)["depths"]]


def main(data: str, network: str, seed: str, lr: str, folder: Path) -> None:
    """Prints a line for each decay: the mean over the depths, and the depths 3, 6 and 12."""
    for decay in DECAYS:
        scores = adopt(network, data, seed, lr, folder / f"decay-{decay:g}", decay)
        line = f"decay {decay:g}: mean {fmean(scores):.1f}; {scores[0]:.1f} at 3, {scores[3]:.1f} at 6, {scores[-1]:.1f} at 12"
        print(line, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:5], Path(sys.argv[5]))
