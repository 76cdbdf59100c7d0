"""The estimate of `tleg plan --measure` against real trainings: processor time of an epoch with its scoring, on one core.

Both count processor seconds of one thread, so that other work on the machine changes neither. An epoch's time is half of what
three epochs take longer than one, without what a run needs to start and to write its files.

python -m benchmarks.plan_estimate digits digits                         # PRESET DATA
python -m benchmarks.plan_estimate mnist5k first/40:20/mnist5k           # 400 of its images, to be done in minutes
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.tiny import ALONE, Onlooker
from tleg_cli.config import Config
from tleg_cli.config_file import load_config
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.plan import timer
from tleg_cli.plan.estimate import estimate
from tleg_cli.plan.plan import make_plan
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants
from tleg_cli.training.train_teacher import train_teacher

DEPTHS = ("3", "6", "12")
SECONDS = 2.0  # of each kind of step


def config_of(preset: str, data: str, epochs: int, *more: str) -> Config:
    """With so many epochs of everything and no warm-up."""
    sections = ("teacher.recipe", "aux", "descendant")
    short = [f"{section}.{key}" for section in sections for key in (f"epochs={epochs}", "warmup_epochs=0")]
    return load_config(preset, [*short, "data.workers=0", "aux.allow_bad_teacher=true", f"data.path={data}", *more])


def seconds_of(call: Callable[[], Any]) -> float:
    """Processor time."""
    began = time.process_time()
    call()
    return time.process_time() - began


def estimated(preset: str, data: str) -> dict[str, float]:
    """Seconds of one epoch of each training, as `tleg plan --measure` finds them for a thousand epochs."""
    timer.now = time.process_time
    config = config_of(preset, data, 1000)
    depths = [parse_depths(depth)[0] for depth in DEPTHS]
    plan = make_plan(config, depths, processes=1, learngene=None, images=None, classes=None, scratch_epochs=1)
    found = estimate(plan, config, ALONE, Onlooker(), seconds=SECONDS)
    return {one["network"]: 3.6 * one["hours"] for one in found["trainings"]}


def measured(preset: str, data: str, root: Path) -> list[float]:
    """Seconds of one epoch of the same trainings."""
    teacher, learngene = root / "teacher-1" / "teacher.safetensors", root / "aux-1" / "learngene.pt"
    took: list[list[float]] = []
    for epochs in (1, 3):
        config = config_of(preset, data, epochs)
        times = [seconds_of(lambda c=config, n=epochs: train_teacher(c, root / f"teacher-{n}", ALONE, Onlooker()))]
        config = config_of(preset, data, epochs, f"teacher.weights={teacher}")
        times.append(seconds_of(lambda c=config, n=epochs: train_aux(c, root / f"aux-{n}", ALONE, Onlooker())))
        for depth in DEPTHS:
            out = root / f"des-{epochs}"
            wanted = parse_depths(depth)
            times.append(
                seconds_of(lambda c=config, d=wanted, o=out: train_descendants(c, learngene, d, o, ALONE, Onlooker()))
            )
        took.append(times)
    return [(three - one) / 2 for one, three in zip(*took, strict=True)]


def main(preset: str, data: str) -> None:
    """One row for each training."""
    torch.set_num_threads(1)
    found = estimated(preset, data)
    with tempfile.TemporaryDirectory() as root:
        real = measured(preset, data, Path(root))
    print("| training | estimated, s an epoch | measured | ratio |\n|---|---:|---:|---:|")
    for (network, seconds), took in zip(found.items(), real, strict=True):
        print(f"| {network} | {seconds:.2f} | {took:.2f} | {seconds / took:.2f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
