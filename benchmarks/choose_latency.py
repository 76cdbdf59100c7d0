"""Latencies that `tleg choose` predicts, against measured ones of depths that the fit did not use; and how long one `tleg choose` takes.

python -m benchmarks.choose_latency [RUNS] [IMAGE_SIZE]      a DeiT-S with random weights, 5 runs, 224 pixels

Of each depth it prints the medians over the runs; exit code 1 if a prediction is off by more than 10 %, or a choose takes over 60 s.
The machine should be quiet.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DEPTHS, THREADS = "2-12", "1"
LARGEST_ERROR, LONGEST = 0.10, 60.0  # share, seconds


def make_learngene(path: Path, image_size: int) -> None:
    """Of the small preset's network; what a block multiplies doesn't change how long it takes."""
    from tleg_cli import plugin_manager
    from tleg_cli.api import InputSpec, Metadata, write_learngene
    from tleg_cli.learngene.basis import get_basis
    from tleg_cli.models.aux_net import new_aux_net

    half = (0.5, 0.5, 0.5)
    metadata = Metadata(
        "deit_small_patch16_224", {"img_size": image_size}, (12,), 1000, InputSpec(image_size, half, half)
    )
    network = new_aux_net(plugin_manager.get_backbone(metadata.backbone), get_basis("linear"), metadata)
    write_learngene(network.learngene(), path)


def choose(learngene: Path, *options: str) -> tuple[dict[str, Any], float]:
    """The document of one `tleg choose` in a process of its own, and its seconds."""
    command = [sys.executable, "-m", "tleg_cli", "choose", str(learngene), "--json", "--depths", DEPTHS]
    began = time.perf_counter()
    done = subprocess.run([*command, "--threads", THREADS, *options], check=True, capture_output=True, text=True)
    return json.loads(done.stdout), time.perf_counter() - began


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    image_size = int(sys.argv[2]) if len(sys.argv) > 2 else 224
    predicted: dict[str, list[float]] = {}
    measured: dict[str, list[float]] = {}
    fitted: set[str] = set()
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        learngene = Path(folder) / "learngene.pt"
        make_learngene(learngene, image_size)
        _, seconds = choose(learngene)
        for _ in range(runs):
            document, _ = choose(learngene, "--check", "--seconds", "8")
            shares.append(document["processor_share"])
            for one in document["depths"]:
                predicted.setdefault(one["depth"], []).append(one["predicted"])
                measured.setdefault(one["depth"], []).append(one["measured"])
                fitted |= {one["depth"]} if one["fitted"] else set()
    worst = 0.0
    print(f"{'depth':>5} {'predicted':>12} {'measured':>12} {'error':>8}")
    for depth in predicted:
        guess, real = (1000 * statistics.median(times[depth]) for times in (predicted, measured))
        error = guess / real - 1
        worst = worst if depth in fitted else max(worst, abs(error))
        print(
            f"{depth:>5} {guess:9.1f} ms {real:9.1f} ms {100 * error:+6.1f} % {'in the fit' if depth in fitted else ''}"
        )
    print(f"largest error of a depth that the fit did not use: {100 * worst:.1f} % (limit {100 * LARGEST_ERROR:.0f} %)")
    print(
        f"one tleg choose: {seconds:.1f} s (limit {LONGEST:.0f} s); {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"a processor for at least {100 * min(shares):.0f} % of the time (quiet: above 90 %)")
    return int(worst > LARGEST_ERROR or seconds > LONGEST)


if __name__ == "__main__":
    sys.exit(main())
