"""The one training loop, for teacher, aux net and descendant. Interrupted anywhere, it carries on to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import torch
from torch import Tensor, nn

from tleg_cli.config_file import read_yaml
from tleg_cli.data.batches import Batch
from tleg_cli.data.copy_ahead import Parts
from tleg_cli.errors import ConfigError
from tleg_cli.training.compiled import compile_networks
from tleg_cli.training.epoch_end import Ask, finish_epoch, preempted
from tleg_cli.training.gradient_checkpointing import checkpoint_blocks
from tleg_cli.training.job import Job, Observer
from tleg_cli.training.late_checks import LateChecks
from tleg_cli.training.memory_errors import refuse_lack_of_memory
from tleg_cli.training.on_nan import answer_late, handle_bad_step
from tleg_cli.training.optim import budget_of, make_schedule, recipe_warnings
from tleg_cli.training.records import StepRecord, epochs_without_gain
from tleg_cli.training.run import Run
from tleg_cli.training.run_folder import append_step
from tleg_cli.training.saving import Training, mean_over_ranks, resume, save
from tleg_cli.training.signals import Interval, stop_requests
from tleg_cli.training.state import State, new_state
from tleg_cli.training.step import StepResult, batches_for_steps, end_step, take_step
from tleg_cli.training.tracking import load_trackers, tracked


def train(network: nn.Module, job: Job, run: Run, observer: Observer) -> State:
    """Trains to the end of the recipe, from the newest checkpoint in `run` if there is one; returns the final state.

    Raises Preempted when asked to stop (a checkpoint is written), TlegError when a value is not finite and on_nan says so.
    """
    budget = budget_of(job.recipe, job.train.batches, run.world.size)
    for line in recipe_warnings(job.recipe, budget):
        observer.say(line)
    trackers = load_trackers(job.trackers if run.world.main else ())
    run.begin(budget, job.images)
    state = new_state(network, job.recipe, budget.lr, run.world)
    training = Training(
        job, state, budget, run, observer, Interval(job.recipe.checkpoint_every), LateChecks(run.world.device)
    )
    resume(training)
    if state.step < budget.steps:
        training.compiled = compile_networks(job, state, budget.steps, observer)
        if job.recipe.gradient_checkpointing:
            checkpoint_blocks(state.network, job.stages)
    set_rate = make_schedule(state.optimizer, job.recipe, budget)
    observer.start(budget, state.step)
    config = read_yaml(run.config_yaml, "config.yaml")
    try:
        with (
            stop_requests(run.world) as ask,
            tracked(trackers, run.folder.path, config, state.step, observer.say) as track,
        ):
            training.track = track
            _train(training, set_rate, ask)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"batch normalisation needs more than one image in a batch of this size, and batch_size is {job.recipe.batch_size}; "
            "set it to 2 or more"
        ) from error
    except RuntimeError as error:
        refuse_lack_of_memory(error, job)
        raise
    finally:
        observer.stop()
    return state


def _train(training: Training, set_rate: Callable[[int], float], ask: Ask) -> None:
    """Epoch after epoch. Asked to stop, it does so after this step, or this batch of scoring."""
    state, budget = training.state, training.budget
    if _epoch_is_open(training):
        finish_epoch(training, ask)
    while state.step < budget.steps and not _is_flat(training):
        for loss, lr in _steps_of_epoch(training, set_rate):
            training.observer.step(state.step, loss if training.late.loss is None else training.late.loss, lr)
            _log_step(training, loss, lr)
            inside = not _at_epochs_end(training)  # which has a checkpoint of its own
            requests = ask(inside and training.run.world.main and training.interval.due_by_clock())
            if requests.stop or (inside and (requests.save or training.interval.due_by_step(state.step))):
                answer_late(training, all_of_them=True)
                save(training)
            if requests.stop:
                raise preempted(training)
        finish_epoch(training, ask)
        if state.step < budget.steps and ask(False).stop:
            raise preempted(training)


def _is_flat(training: Training) -> bool:
    """Whether the mean score over the depths has gained nothing in the last `patience` epochs; the same answer on every rank."""
    patience, history = training.job.patience, training.state.history
    return patience is not None and epochs_without_gain(history) >= patience


def _log_step(training: Training, loss: Tensor, lr: float) -> None:
    """A step record, if one is due: only then is the loss read, for which the device has to finish the step."""
    state, every = training.state, training.job.recipe.log_every
    if every is None or state.step % every:
        return
    mean = mean_over_ranks(loss, training.run.world)
    if training.run.world.main and math.isfinite(mean):
        images = training.budget.global_batch * (state.step - training.epoch_began_at)
        rate = images / max(state.epoch_seconds - training.epoch_seconds_before, 1e-9)
        record: StepRecord = {"kind": "step", "step": state.step, "loss": mean, "lr": lr, "images_per_second": rate}
        training.step_records.append(record)
        append_step(training.run.folder, record)
        training.track(record)


def _at_epochs_end(training: Training) -> bool:
    """Whether all steps of an epoch are taken; a training that is measured in steps may end before its last epoch does."""
    step, budget = training.state.step, training.budget
    return step % budget.steps_per_epoch == 0 or step == budget.steps


def _epoch_is_open(training: Training) -> bool:
    """Whether an epoch has all its steps but no scores yet: before the first step, or when stopped right after the last."""
    state = training.state
    scored = state.history[-1]["step"] if state.history else None
    if state.step == 0:
        return training.job.evaluate_first and scored is None
    return _at_epochs_end(training) and scored != state.step


def _steps_of_epoch(training: Training, set_rate: Callable[[int], float]) -> Iterator[tuple[Tensor, float]]:
    """Takes the steps that are left of the current epoch, yielding loss and learning rate after each."""
    job, state, budget = training.job, training.state, training.budget
    epoch, done = divmod(state.step, budget.steps_per_epoch)
    state.replica.train()
    training.epoch_began_at, training.epoch_seconds_before = state.step, state.epoch_seconds
    loaded = _timed(job.train.epoch(epoch, start=done * job.recipe.accumulation), state)
    with closing(batches_for_steps(loaded, job, state.step * job.recipe.accumulation, training.run.world)) as batches:
        for _ in range(done, min(budget.steps_per_epoch, budget.steps - epoch * budget.steps_per_epoch)):
            began = time.perf_counter()
            lr = set_rate(state.step)
            result = _step(training, batches, lr)
            state.epoch_seconds += time.perf_counter() - began
            yield result.loss, lr


def _timed(loaded: Generator[Batch, None, None], state: State) -> Generator[Batch, None, None]:
    """The same batches; counts the seconds for which the loader lets the training wait."""
    with closing(loaded):
        while True:
            began = time.perf_counter()
            batch = next(loaded, None)
            state.epoch_wait += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def _step(training: Training, batches: Iterator[Parts], lr: float) -> StepResult:
    """One step further in the data, with the weights moved or, if a value is not finite, as on_nan says."""
    state, step = training.state, training.state.step
    result = take_step(training.job, state, batches, training.run.world)
    training.memory.add(step, result.loss, result.norms.total, lr)
    if result.flag is not None:
        _count_late(training, step, result, lr)
        return result
    if result.bad:
        handle_bad_step(training, step, result, lr)
    else:
        end_step(state)
        state.epoch_loss = state.epoch_loss + result.loss.double()
        state.epoch_steps += 1
        state.step += 1
    return result


def _count_late(training: Training, step: int, result: StepResult, lr: float) -> None:
    """Counts a step as taken until its flag has arrived, and answers those that have."""
    state = training.state
    assert result.flag is not None
    end_step(state)
    state.epoch_loss = state.epoch_loss + torch.where(result.flag > 0, 0.0, result.loss).double()
    state.epoch_steps += 1
    state.step += 1
    training.late.add(step, lr, result)
    answer_late(training)
