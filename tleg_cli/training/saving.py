"""A training under way, into its checkpoints and out of them: rank 0 writes, all ranks read the same."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tleg_cli.errors import TlegError
from tleg_cli.launch.heartbeat import report_activity
from tleg_cli.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from tleg_cli.training.distributed import World, from_main, sum_over_ranks, wait_for_all
from tleg_cli.training.health import Memory
from tleg_cli.training.job import Job, Observer
from tleg_cli.training.optim import Budget
from tleg_cli.training.run import Run
from tleg_cli.training.run_folder import write_metrics
from tleg_cli.training.signals import Interval
from tleg_cli.training.state import State, content_of, restore_state


@dataclass
class Training:
    """A job under way: what every function of the loop needs."""

    job: Job
    state: State
    budget: Budget
    run: Run
    observer: Observer
    interval: Interval
    memory: Memory = field(default_factory=Memory)


def resume(training: Training) -> None:
    """Carries on from the newest checkpoint, if there is one."""
    found = newest(training)
    if found:
        restore_state(training.state, found)
        training.observer.say(f"resuming at step {training.state.step} of {training.budget.steps}")
    elif training.job.recipe.on_nan == "rollback":
        save(training)  # something to go back to


def newest(training: Training) -> Checkpoint | None:
    """The newest whole checkpoint, the same one on every rank. Raises TlegError if they don't see one folder, or none is whole."""
    world = training.run.world
    found, passed_over = newest_checkpoint(training.run.folder.checkpoints)
    if passed_over and found is None:
        raise TlegError(
            f"none of the {len(passed_over)} checkpoints is whole: {passed_over[0]}; restore one, "
            f"or remove {training.run.folder.path} to begin anew"
        )
    for line in passed_over:
        training.observer.say(f"{line}; using the one before it")
    step = found.state["step"] if found else None
    if from_main(step, world) != step:
        raise TlegError(
            f"rank {world.rank} sees checkpoint step {step}, rank 0 another: the run folder must be one shared folder"
        )
    return found


def save(training: Training) -> None:
    """Rank 0 writes; the others wait, so that no rank is a checkpoint ahead."""
    state, folder, world = training.state, training.run.folder, training.run.world
    report_activity("saving a checkpoint", state.step)
    epoch_loss = mean_over_ranks(state.epoch_loss, world)
    if world.main:
        best = max(state.history, key=lambda record: record["top1"], default={"step": None})
        save_checkpoint(folder.checkpoints, state.step, content_of(state, epoch_loss), best=best["step"])
        write_metrics(folder, state.history)
    wait_for_all(world)
    training.interval.saved = time.monotonic()


def mean_over_ranks(value: Tensor | float, world: World) -> float:
    """On every rank alike."""
    number = torch.as_tensor(value, dtype=torch.float64, device=world.device).clone()
    return float(sum_over_ranks(number, world)) / world.size
