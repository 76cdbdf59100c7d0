"""`tleg expand` file to file against `import torch` alone, which it can't do without: python -m benchmarks.expand [ROUNDS]

DeiT-Ti, S and B (--backbone of the paper, 12 blocks), a learngene of random values each. The two take turns; medians of wall and
processor time, their ratio, and the largest resident memory next to the size of the file that is written.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SIZES = ("tiny", "small", "base")
DEPTH = 12
MAKE = """
import sys
from pathlib import Path
import torch
from tleg_cli import plugin_manager
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.file import write_learngene
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.network_check import with_network_check

spec = InputSpec(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
for size in {sizes}:
    metadata = Metadata(f"deit_{{size}}_patch16_224", {{"img_size": 224}}, ({depth},), 1000, spec)
    network = new_aux_net(plugin_manager.get_backbone(metadata.backbone), get_basis("linear"), metadata)
    write_learngene(with_network_check(network.learngene()), Path(sys.argv[1]) / f"{{size}}.pt")
"""


class Cost(NamedTuple):
    """Of one process: seconds on the clock, seconds of processors, largest resident memory in bytes."""

    wall: float
    processor: float
    memory: int


def cost_of(command: list[str]) -> Cost:
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))  # type: ignore[arg-type]


def main() -> None:
    """One line for each size."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MAKE.format(sizes=SIZES, depth=DEPTH), folder], check=True)
        written = Path(folder) / "net.safetensors"
        alone = [sys.executable, "-c", "import torch"]
        for size in SIZES:
            words = ["expand", f"{folder}/{size}.pt", "--depth", str(DEPTH), "--out", str(written)]
            command = [sys.executable, "-m", "tleg_cli", *words]
            cost_of(alone)
            pairs = []
            for _ in range(rounds):
                written.unlink(missing_ok=True)
                pairs.append((cost_of(alone), cost_of(command)))
            torch, ours = (median([*costs]) for costs in zip(*pairs, strict=True))
            file = written.stat().st_size
            print(
                f"{size}: {ours.wall / torch.wall:.2f} times import torch ({ours.wall:.2f} and {torch.wall:.2f} s), "
                f"{ours.processor / torch.processor:.2f} in processor time ({ours.processor:.2f} and {torch.processor:.2f} s); "
                f"file {file / 1e6:.0f} MB, peak {ours.memory / 1e6:.0f} MB, {(ours.memory - torch.memory) / 1e6:.0f} MB above import torch"
            )


if __name__ == "__main__":
    main()
