"""One optimiser step, equal on every rank; or none if a value is not finite: then nothing has changed.

On a processor the host decides. On a GPU it would have to wait for the answer, so the device decides: the flag goes into the
optimiser as `found_inf`, and late_checks.py brings it to the host.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tleg_cli.augment.pipeline import step_generator
from tleg_cli.data.batches import Batch
from tleg_cli.data.copy_ahead import Parts, copied_ahead
from tleg_cli.launch.heartbeat import report_activity
from tleg_cli.learngene.depths import Depth
from tleg_cli.training.distributed import World
from tleg_cli.training.ema import update_unless
from tleg_cli.training.evaluate import autocast
from tleg_cli.training.health import Norms, gradient_norms, is_bad, late_flags
from tleg_cli.training.job import Job
from tleg_cli.training.losses import Distilled
from tleg_cli.training.state import State


@dataclass(frozen=True)
class StepResult:
    """What came of a step. bad: loss or gradient is not finite on some rank, and nothing was changed.

    flag: the same as a number on the device, 0 or 1, where the host doesn't know yet; then bad is False.
    """

    loss: Tensor
    norms: Norms
    bad: bool
    flag: Tensor | None = None


def batches_for_steps(
    loaded: Generator[Batch, None, None], job: Job, first: int, world: World
) -> Generator[Parts, None, None]:
    """What `take_step` takes: batches on their way to the device. first: the number of the first one, counted over the training.

    With `job.teach_ahead` they are augmented there, and have the teacher's logits: (images, targets, logits).
    """
    if not job.teach_ahead:
        return copied_ahead(loaded, world.device)
    numbers = itertools.count(first)

    def taught(batch: Batch) -> Parts:
        assert isinstance(job.objective, Distilled)
        images, targets = _augmented(job, batch, next(numbers), world)
        with autocast(job.recipe.precision, world.device):
            return images, targets, job.objective.teacher(images)

    return copied_ahead(loaded, world.device, taught)


def take_step(job: Job, state: State, batches: Iterator[Parts], world: World) -> StepResult:
    """One step over `accumulation` batches, equal to one big batch. The step's number and the rates are the caller's."""
    recipe = job.recipe
    total = torch.zeros((), device=world.device)
    # batch norm moves its buffers in the forward pass; stopping or rolling back needs none of them
    kept = state.network.named_buffers() if recipe.on_nan.startswith("skip") else ()
    buffers = {name: value.clone() for name, value in kept}
    for part in range(recipe.accumulation):
        report_activity("waiting for data", state.step)
        batch = next(batches)
        report_activity("computing", state.step)
        last = part == recipe.accumulation - 1
        draw = state.step * recipe.accumulation + part
        with nullcontext() if last or world.size == 1 else state.replica.no_sync():  # type: ignore[operator]
            loss = _forward(job, state, batch, draw, world) / recipe.accumulation
            state.scaler.scale(loss).backward()
        total += loss.detach()
    state.scaler.unscale_(state.optimizer)
    norms = gradient_norms(state.parameters)
    if state.checks_late:
        flag, left_out = late_flags(total, norms.total, state.scaler, world)
        _update_unless(flag, left_out, job, state, norms, buffers)
        return StepResult(total, norms, False, flag)
    bad = _update(job, state, total, norms, world)
    if bad:
        _put_back(state.network, buffers)
    return StepResult(total, norms, bad)


def _forward(job: Job, state: State, batch: Parts, draw: int, world: World) -> Tensor:
    """The loss of one batch. All randomness is a function of (seed, draw, rank): a resumed run needs no generator's state."""
    generator = step_generator(job.seed, draw, world.rank, world.device)
    torch.manual_seed(
        generator.initial_seed() ^ 0x5DEECE66D
    )  # drop path and dropout: not the stream of the augmentation
    images, labels, *taught = batch
    inputs, targets = (images, labels) if taught else _augmented(job, (images, labels), draw, world)
    depth = None if job.draw is None else job.draw.at(state.step)
    return loss_of(job, state.replica, state.network, inputs, targets, depth, state.step, *taught)


def _augmented(job: Job, batch: Batch, draw: int, world: World) -> Batch:
    """(images, targets) on the device, as the network takes them."""
    generator = step_generator(job.seed, draw, world.rank, world.device)
    images, labels = (part.to(world.device, non_blocking=True) for part in batch)
    return job.augment(images, labels, generator)


def loss_of(
    job: Job,
    replica: nn.Module,
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    depth: Depth | None,
    step: int,
    taught: Tensor | None = None,
) -> Tensor:
    """The loss at a depth, in the recipe's precision. replica: the network, or what averages its gradients over the ranks.

    images: normalised (batch, 3, size, size); targets: (batch, classes), rows sum to 1. taught: the teacher's logits, if it was asked
    already.
    """
    with autocast(job.recipe.precision, images.device):
        logits = replica(images) if depth is None else replica(images, depth)
        if taught is None:
            loss = job.objective(logits, images, targets)
        else:
            assert isinstance(job.objective, Distilled)
            loss = job.objective.against(logits, taught, targets)
        if job.in_place is not None and depth is not None and job.in_place.applies(step, depth):
            loss = job.in_place.blend(loss, logits, network, images, targets)
        return loss


def _update(job: Job, state: State, loss: Tensor, norms: Norms, world: World) -> bool:
    """Checks, clips and steps. Gradients are averaged over the ranks by now; a loss is one rank's own, so they ask each other."""
    bad = is_bad(loss, norms.total, state.scaler, world)
    if not bad:
        _clip(job, state, norms)
        state.scaler.step(state.optimizer)
        if state.ema is not None:
            state.ema.update(state.network, step=state.step)
    return bad


def _update_unless(
    flag: Tensor, left_out: Tensor, job: Job, state: State, norms: Norms, buffers: Mapping[str, Tensor]
) -> None:
    """The same without waiting: the device leaves the optimiser's step out where `left_out` is 1, and buffers and EMA where `flag` is.

    buffers: as they were before the step. The GradScaler's own step isn't asked: it knows of the gradients only, not of the loss.
    """
    _clip(job, state, norms)
    state.optimizer.found_inf = left_out  # type: ignore[attr-defined]  # torch's fused optimisers read it, as set by GradScaler
    state.optimizer.step()
    if buffers:
        present = dict(state.network.named_buffers())
        _put_back(state.network, {name: torch.where(flag > 0, old, present[name]) for name, old in buffers.items()})
    if state.ema is not None:
        update_unless(flag, state.ema, state.network, state.step)


def _clip(job: Job, state: State, norms: Norms) -> None:
    if job.recipe.clip_grad is not None:
        parameters = state.parameters.values()
        nn.utils.clip_grads_with_norm_(parameters, job.recipe.clip_grad, norms.total, foreach=True)


def _put_back(network: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    if buffers:
        present = dict(network.named_buffers())
        for name, value in buffers.items():
            present[name].copy_(value)


def end_step(state: State) -> None:
    """After a step, taken or not: the scaler's next scale, and gradients gone."""
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
