"""gradient_compression: bf16: between two real processes, the mean of both gradients to 8 bits of precision, the same on each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from tleg_cli.training.distributed import World, replicate

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
world = World(rank, 2, torch.device("cpu"))


def average(compression):
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 32)
    torch.manual_seed(rank + 1)
    replica = replicate(model, world, compression)
    replica(torch.randn(16, 64)).square().sum().backward()
    torch.save(model.weight.grad.clone(), f"{folder}/{compression}-{rank}.pt")


for compression in ("none", "bf16"):
    average(compression)  # in a function: what outlives the process group can abort at exit, in C++
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_get_the_same_mean_rounded_to_bf16(tmp_path: Path):
    ranks = [subprocess.Popen([sys.executable, "-c", SCRIPT, str(rank), str(tmp_path)]) for rank in (0, 1)]
    assert [rank.wait() for rank in ranks] == [0, 0]
    exact, other, rounded, again = (
        torch.load(tmp_path / f"{name}.pt") for name in ("none-0", "none-1", "bf16-0", "bf16-1")
    )
    assert torch.equal(exact, other)
    assert torch.equal(rounded, again)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=2**-7, atol=0.02 * float(exact.abs().max()))
