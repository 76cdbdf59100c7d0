"""Memory of one aux step with and without gradient checkpointing: python -m benchmarks.step_memory [BATCH]

DeiT-S, 12 blocks, forward and backward pass of BATCH images (16), in fp32 and bf16, each in a process of its own: the highest resident
memory (VmHWM) above what was there before the first step, and the time of a second step.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch

from tleg_cli import plugin_manager
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import AuxNet, new_aux_net
from tleg_cli.training.evaluate import autocast
from tleg_cli.training.gradient_checkpointing import checkpoint_blocks

NAME, PIXELS = "deit_small_patch16_224", 224
WAYS = [(precision, again) for precision in ("fp32", "bf16") for again in ("", "checkpointing")]


def memory(key: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def aux_net() -> AuxNet:
    spec = InputSpec(PIXELS, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    metadata = Metadata(NAME, {"img_size": PIXELS}, (12,), 1000, spec)
    return new_aux_net(plugin_manager.get_backbone(NAME), plugin_manager.get_basis("linear"), metadata)


def measure(precision: str, again: str, batch: int) -> None:
    """Prints bytes and seconds."""
    network, images = aux_net(), torch.randn(batch, 3, PIXELS, PIXELS)
    if again:
        checkpoint_blocks(network, network.stages)

    def step() -> None:
        with autocast(precision, images.device):
            loss = network(images).float().square().mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    before = memory("VmRSS")
    step()
    highest = memory("VmHWM") - before
    began = time.process_time()
    step()
    print(highest, time.process_time() - began)


def main() -> None:
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    for precision, again in WAYS:
        command = [sys.executable, "-m", "benchmarks.step_memory", precision, again, str(batch)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"{precision} {again or 'plain':13} {int(found[0]) / 1e6:6.0f} MB {float(found[1]):6.1f} s of processors")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
