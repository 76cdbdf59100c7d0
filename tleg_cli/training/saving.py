"""A training under way, into its checkpoints and out of them: rank 0 writes, all ranks read the same."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tleg_cli.errors import TlegError
from tleg_cli.launch.heartbeat import report_activity
from tleg_cli.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from tleg_cli.training.distributed import World, from_main, sum_over_ranks, wait_for_all
from tleg_cli.training.health import Memory
from tleg_cli.training.job import Job, Observer
from tleg_cli.training.late_checks import LateChecks
from tleg_cli.training.lock import hold_checkpoints, what_was_replaced
from tleg_cli.training.optim import Budget
from tleg_cli.training.records import StepRecord
from tleg_cli.training.repair import metrics_problem
from tleg_cli.training.run import Run
from tleg_cli.training.run_folder import RunFolder, read_steps, write_metrics
from tleg_cli.training.signals import Interval
from tleg_cli.training.state import State, content_of, restore_state
from tleg_cli.training.tracking import Track


def _untracked(record: Mapping[str, Any]) -> None:
    """Used if the config names no tracker."""


@dataclass
class Training:
    """A job under way: what every function of the loop needs."""

    job: Job
    state: State
    budget: Budget
    run: Run
    observer: Observer
    interval: Interval
    late: LateChecks
    track: Track = _untracked
    compiled: bool = False  # steps are; scores are taken without
    memory: Memory = field(default_factory=Memory)
    step_records: list[StepRecord] = field(default_factory=list)  # of the complete run, on rank 0
    epoch_began_at: int = 0  # the first step that this process took in the current epoch
    epoch_seconds_before: float = 0.0  # of the epoch, in earlier processes


def resume(training: Training) -> None:
    """Carries on from the newest checkpoint, if there is one."""
    found, folder = newest(training), training.run.folder
    if found:
        restore_state(training.state, found)
        training.observer.say(f"resuming at step {training.state.step} of {training.budget.steps}")
        if training.run.world.main:
            training.step_records = read_steps(folder, training.state.step)
            problem = metrics_problem(folder)
            write_metrics(folder, training.state.history, training.step_records)
            if problem:
                training.observer.say(f"warning: {problem}; written again from the checkpoint")
    elif training.job.recipe.on_nan == "rollback":
        save(training)  # something to go back to


def newest(training: Training) -> Checkpoint | None:
    """The newest complete checkpoint, the same one on every rank. Raises TlegError if ranks see other ones, or all are damaged."""
    world = training.run.world
    found, passed_over = newest_checkpoint(training.run.folder.checkpoints)
    if passed_over and found is None:
        raise TlegError(
            f"all {len(passed_over)} checkpoints are damaged (newest: {passed_over[0]}). Restore one, or delete "
            f"{training.run.folder.path} to start over"
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
        _write(training, folder, epoch_loss)
    wait_for_all(world)
    training.interval.saved = time.monotonic()


def _write(training: Training, folder: RunFolder, epoch_loss: float) -> None:
    """A checkpoint and the records, into the run folder or, if that was deleted or replaced, into one next to it."""
    state, run = training.state, training.run
    replaced = what_was_replaced(folder.path)
    if replaced is not None:
        folder = RunFolder(_free_name(folder.path.absolute()))
        run.describe(folder)
    content = content_of(state, epoch_loss)
    content.state["identity"] = run.identity  # a damaged run.json can be restored from it
    best = max(state.history, key=lambda record: record["top1"], default=None)
    save_checkpoint(folder.checkpoints, state.step, content, best=best["step"] if best else None)
    write_metrics(folder, state.history, training.step_records)
    if replaced is None:
        hold_checkpoints(folder.path)
        return
    raise TlegError(
        f"{replaced} was deleted or replaced while this run was writing there, and nothing more is written to it. Step "
        f"{state.step} is saved in {folder.path}: move that folder to {run.folder.path}, and the same command carries on"
    )


def _free_name(path: Path) -> Path:
    """`runs/aux-rescued`, or with a number."""
    names = (path.with_name(f"{path.name}-rescued{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def mean_over_ranks(value: Tensor | float, world: World) -> float:
    """On every rank alike."""
    number = torch.as_tensor(value, dtype=torch.float64, device=world.device).clone()
    return float(sum_over_ranks(number, world)) / world.size
