"""The end of an epoch: scores of the network, of its average and of its depths, one record and one checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext

import torch
from torch import nn

from tleg_cli.data.batches import Batch
from tleg_cli.errors import Preempted
from tleg_cli.launch.heartbeat import report_activity
from tleg_cli.learngene.depths import format_depth
from tleg_cli.models.aux_net import AtDepth
from tleg_cli.training.evaluate import Scores, evaluate
from tleg_cli.training.on_nan import answer_late
from tleg_cli.training.records import EpochRecord
from tleg_cli.training.saving import Training, mean_over_ranks, save
from tleg_cli.training.signals import Requests

Ask = Callable[[bool], Requests]


def finish_epoch(training: Training, ask: Ask) -> None:
    """Scores, one record, one checkpoint. Asked to stop meanwhile, it leaves the scores to the next start."""
    answer_late(training, all_of_them=True)
    state = training.state
    record = _steps_taken(training)
    began = time.perf_counter()
    try:
        record |= _scores(training, ask)
    except _StopWhileScoring:
        save(training)
        raise preempted(training) from None
    record["seconds"] = state.epoch_seconds + time.perf_counter() - began
    state.history.append(record)
    state.epoch_loss = state.epoch_seconds = state.epoch_wait = 0.0
    state.epoch_steps = 0
    save(training)
    training.track(record)
    training.observer.epoch(record)


def _steps_taken(training: Training) -> EpochRecord:
    """What its steps were: loss, rate and speed; of epoch 0, which has none, only its number."""
    state, budget = training.state, training.budget
    record: EpochRecord = {"epoch": -(-state.step // budget.steps_per_epoch), "step": state.step}
    if state.step:
        if state.epoch_steps:
            record["loss"] = mean_over_ranks(state.epoch_loss, training.run.world) / state.epoch_steps
        if state.skipped:
            record["skipped_so_far"] = state.skipped
        record["lr"] = max(group["lr"] for group in state.optimizer.param_groups)
        images = budget.global_batch * (state.step - (record["epoch"] - 1) * budget.steps_per_epoch)
        record["images_per_second"] = images / max(state.epoch_seconds, 1e-9)
        record["data_wait"] = state.epoch_wait / max(state.epoch_seconds, 1e-9)
    return record


def _scores(training: Training, ask: Ask) -> EpochRecord:
    """Of the network, of its moving average, and of any-depth stage 1 at its score_depths. Raises _StopWhileScoring."""
    state, draw = training.state, training.job.draw
    scores = _score(training, state.network, ask)
    record: EpochRecord = {"top1": scores.top1, "top5": scores.top5, "val_loss": scores.loss}
    if state.ema is not None:
        scores = _score(training, state.ema.module, ask)
        record |= {"ema_top1": scores.top1, "ema_top5": scores.top5, "ema_val_loss": scores.loss}
    if draw is not None:
        at = {format_depth(depth): _score(training, AtDepth(state.network, depth), ask).top1 for depth in draw.scored}
        record["top1_at"] = at
    return record


class _StopWhileScoring(Exception):
    """A request to stop that came while scoring."""


def _score(training: Training, model: nn.Module, ask: Ask) -> Scores:
    """Of the model on the complete validation split. Raises _StopWhileScoring on every rank alike."""
    job, world = training.job, training.run.world
    report_activity("scoring")
    on_each_rank = -(-(job.val.samples // world.size) // job.recipe.batch_size)  # some ranks may have a batch more

    def interruptible(batches: Iterator[Batch]) -> Iterator[Batch]:
        for number, batch in enumerate(batches):
            training.observer.scoring(number, job.val.batches)
            yield batch
            report_activity("scoring")
            if number < on_each_rank and ask(False).stop:
                raise _StopWhileScoring

    eager = torch.compiler.set_stance("force_eager") if training.compiled else nullcontext()
    with closing(job.val.epoch(0)) as batches, eager:
        return evaluate(
            model,
            interruptible(batches),
            world,
            mean=job.mean,
            std=job.std,
            precision=job.recipe.precision,
            expected=job.val.samples,
        )


def preempted(training: Training) -> Preempted:
    return Preempted(
        f"stopped at step {training.state.step} of {training.budget.steps}; the same command carries on from there"
    )
