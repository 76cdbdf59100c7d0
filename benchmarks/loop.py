"""The training loop against its bare step: python -m benchmarks.loop [ROUNDS]

Preset digits-any-depth without a teacher, one thread: the smallest step of tleg's presets. Processor time of a step in a real training
(loader, augmentation, step, a record for every step, progress) and of the step alone on one batch in memory, at the same depths. The
ratio should be at least 0.9.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import mean, median

import torch

from tleg_cli.config import Config
from tleg_cli.config_file import load_config
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.training.distributed import World
from tleg_cli.training.job import open_data
from tleg_cli.training.losses import label_loss
from tleg_cli.training.optim import Budget
from tleg_cli.training.records import EpochRecord
from tleg_cli.training.state import new_state
from tleg_cli.training.step import end_step, take_step
from tleg_cli.training.task import resolve
from tleg_cli.training.train_aux import train_aux

ALONE = World(0, 1, torch.device("cpu"))
EPOCHS = 3
SETTINGS = ("aux.distillation.alpha=0", f"aux.epochs={EPOCHS}", "aux.log_every=1", "data.workers=0")


class Watch:
    """An observer that keeps the processor time at each step."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.steps_per_epoch = 0

    def start(self, budget: Budget, done: int) -> None:
        self.steps_per_epoch = budget.steps_per_epoch

    def step(self, step: int, loss: torch.Tensor, lr: float) -> None:
        float(loss)  # as the progress bar does
        self.at.append(time.process_time())

    def scoring(self, done: int, batches: int) -> None: ...
    def epoch(self, record: EpochRecord) -> None: ...
    def say(self, text: str) -> None: ...
    def stop(self) -> None: ...


def in_the_loop(config: Config) -> tuple[list[float], int]:
    """Seconds of each step but an epoch's first, in order; and steps of an epoch."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        train_aux(config, Path(folder) / "run", ALONE, watch)
    took = [later - earlier for earlier, later in itertools.pairwise(watch.at)]
    return [one for number, one in enumerate(took, 1) if number % watch.steps_per_epoch], watch.steps_per_epoch


def alone(config: Config, steps_per_epoch: int) -> list[float]:
    """The same steps, on one batch."""
    task, took = resolve(config), []
    assert task.draw is not None
    with open_data(config, ALONE) as data:
        job = data.job(label_loss, config.aux, draw=task.draw, stages=task.backbone.stages)
        torch.manual_seed(config.seed)
        network = new_aux_net(task.backbone, task.basis, task.metadata(data.classes), task.expansion, task.draw.all)
        state = new_state(network, config.aux, config.aux.lr, ALONE)
        with closing(job.train.epoch(0)) as batches:
            images, labels = next(batches)
        held = itertools.repeat((images.clone(), labels.clone()))
        state.replica.train()
        for number in range(EPOCHS * steps_per_epoch):
            began = time.process_time()
            take_step(job, state, held, ALONE)
            end_step(state)
            state.step += 1
            if number % steps_per_epoch:
                took.append(time.process_time() - began)
    return took


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    config = load_config("digits-any-depth", SETTINGS, data__path="digits", seed=0)
    ratios = []
    for _ in range(rounds):
        loop, steps_per_epoch = in_the_loop(config)
        bare = alone(config, steps_per_epoch)
        ratios.append(mean(bare) / mean(loop))
        print(
            f"in the loop {1e3 * mean(loop):.1f} ms, the step alone {1e3 * mean(bare):.1f} ms: {ratios[-1]:.3f} of its speed"
        )
    print(f"median {median(ratios):.3f} (at least 0.9)")


if __name__ == "__main__":
    main()
