"""The one training loop, for teacher, aux net and descendant. Interrupted anywhere, it carries on to the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

from torch import Tensor, nn

from tleg_cli.data.batches import Batch
from tleg_cli.errors import Preempted
from tleg_cli.launch.heartbeat import mark
from tleg_cli.training.distributed import World, replicate
from tleg_cli.training.evaluate import evaluate
from tleg_cli.training.job import Job, Watch
from tleg_cli.training.on_nan import answer
from tleg_cli.training.optim import make_optimizer, make_schedule, plan_training
from tleg_cli.training.run_folder import RunFolder
from tleg_cli.training.saving import Training, mean_over_ranks, resume, save
from tleg_cli.training.signals import Interval, Wishes, stop_requests
from tleg_cli.training.state import Record, State, new_state
from tleg_cli.training.step import Taken, end_step, take_step

__all__ = ["Job", "Record", "State", "Watch", "fit"]


def fit(job: Job, run: RunFolder, world: World, watch: Watch) -> State:
    """Trains to the end of the recipe from the newest checkpoint in `run`, if there is one; returns the final state.

    Raises Preempted when asked to stop (a checkpoint is written), TlegError when a number is not finite and on_nan says so.
    """
    plan = plan_training(job.recipe, job.train.batches, world.size)
    optimizer = make_optimizer(job.model, job.recipe, plan.lr)
    state = new_state(job.model, optimizer, job.recipe, world.device)
    training = Training(job, state, plan, run, world, watch, Interval(job.recipe.checkpoint_every))
    resume(training)
    replica = replicate(job.model, world)
    set_rate = make_schedule(optimizer, job.recipe, plan)
    watch.start(plan, state.step)
    try:
        with stop_requests(world) as ask:
            _train(training, replica, set_rate, ask)
    finally:
        watch.stop()
    return state


def _train(
    training: Training, replica: nn.Module, set_rate: Callable[[int], float], ask: Callable[[bool], Wishes]
) -> None:
    """Epoch after epoch. Asked to stop, it does so after this step, or this batch of scoring."""
    state, plan = training.state, training.plan
    if _epoch_is_open(training):
        _finish_epoch(training, ask)
    while state.step < plan.steps:
        for loss, lr in _steps_of_epoch(training, replica, set_rate):
            training.watch.step(state.step, loss, lr)
            inside = state.step % plan.steps_per_epoch != 0  # the epoch's end has a checkpoint of its own
            wishes = ask(inside and training.world.main and training.interval.due(state.step))
            if wishes.stop or wishes.save:
                save(training)
            if wishes.stop:
                raise _preempted(training)
        _finish_epoch(training, ask)
        if state.step < plan.steps and ask(False).stop:
            raise _preempted(training)


def _preempted(training: Training) -> Preempted:
    return Preempted(
        f"stopped at step {training.state.step} of {training.plan.steps}; the same command carries on from there"
    )


def _epoch_is_open(training: Training) -> bool:
    """Whether an epoch has all its steps but no scores yet: before the first step, or when stopped right after the last."""
    state = training.state
    scored = state.history[-1]["step"] if state.history else None
    if state.step == 0:
        return training.job.evaluate_first and scored is None
    return state.step % training.plan.steps_per_epoch == 0 and scored != state.step


def _steps_of_epoch(
    training: Training, replica: nn.Module, set_rate: Callable[[int], float]
) -> Iterator[tuple[Tensor, float]]:
    """Takes the steps that are left of the current epoch, yielding loss and learning rate after each."""
    job, state, plan = training.job, training.state, training.plan
    epoch, done = divmod(state.step, plan.steps_per_epoch)
    replica.train()
    with closing(job.train.epoch(epoch, start=done * job.recipe.accumulation)) as batches:
        for _ in range(done, plan.steps_per_epoch):
            began = time.perf_counter()
            lr = set_rate(state.step)
            taken = _step(training, replica, batches, lr)
            state.epoch_seconds += time.perf_counter() - began
            state.epoch_wait += taken.waited
            yield taken.loss, lr


def _step(training: Training, replica: nn.Module, batches: Iterator[Batch], lr: float) -> Taken:
    """One step further in the data, with the weights moved or, where a number went bad, as on_nan says."""
    state = training.state
    taken = take_step(training.job, state, replica, batches, training.world)
    training.memory.add(state.step, taken.loss, taken.norms.total, lr)
    if taken.bad:
        answer(training, taken, lr)
    else:
        end_step(state)
        state.epoch_loss = state.epoch_loss + taken.loss.double()
        state.epoch_steps += 1
        state.step += 1
    return taken


def _finish_epoch(training: Training, ask: Callable[[bool], Wishes]) -> None:
    """Scores, one record, one checkpoint. Asked to stop meanwhile, it leaves the scores to the next start."""
    job, state, plan, world = training.job, training.state, training.plan, training.world
    record: Record = {"epoch": state.step // plan.steps_per_epoch, "step": state.step}
    if state.step:
        if state.epoch_steps:
            record["loss"] = mean_over_ranks(state.epoch_loss, world) / state.epoch_steps
        if state.skipped:
            record["skipped_so_far"] = state.skipped
        record["lr"] = max(group["lr"] for group in state.optimizer.param_groups)
        record["images_per_second"] = plan.images_per_epoch / max(state.epoch_seconds, 1e-9)
        record["data_wait"] = state.epoch_wait / max(state.epoch_seconds, 1e-9)
    began = time.perf_counter()
    try:
        record |= _score(job, state.model, world, ask)
        if state.ema is not None:
            record |= {f"ema_{name}": value for name, value in _score(job, state.ema.module, world, ask).items()}
    except _Asked:
        save(training)
        raise _preempted(training) from None
    record["seconds"] = state.epoch_seconds + time.perf_counter() - began
    state.history.append(record)
    state.epoch_loss = state.epoch_seconds = state.epoch_wait = 0.0
    state.epoch_steps = 0
    save(training)
    training.watch.epoch(record)


class _Asked(Exception):
    """Asked to stop while scoring."""


def _score(job: Job, model: nn.Module, world: World, ask: Callable[[bool], Wishes]) -> dict[str, float]:
    """top1, top5 (percent) and val_loss of the model on the whole validation split. Raises _Asked on every rank alike."""
    mark("scoring")
    on_each_rank = -(-(job.val.samples // world.size) // job.recipe.batch_size)  # some ranks may have a batch more

    def looked_after(batches: Iterator[Batch]) -> Iterator[Batch]:
        for number, batch in enumerate(batches):
            yield batch
            mark("scoring")
            if number < on_each_rank and ask(False).stop:
                raise _Asked

    with closing(job.val.epoch(0)) as batches:
        scores = evaluate(
            model,
            looked_after(batches),
            world,
            mean=job.mean,
            std=job.std,
            precision=job.recipe.precision,
            expected=job.val.samples,
        )
    return {"top1": scores.top1, "top5": scores.top5, "val_loss": scores.loss}
