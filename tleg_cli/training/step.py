"""One optimiser step, equal on every rank; or none if a value is not finite: then nothing has changed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tleg_cli.augment.pipeline import step_generator
from tleg_cli.data.batches import Batch
from tleg_cli.launch.heartbeat import report_activity
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import autocast
from tleg_cli.training.health import Norms, gradient_norms, is_bad
from tleg_cli.training.job import Job
from tleg_cli.training.state import State


@dataclass(frozen=True)
class StepResult:
    """What came of a step. bad: loss or gradient is not finite on some rank, and nothing was changed. waited: seconds."""

    loss: Tensor
    norms: Norms
    waited: float
    bad: bool


def take_step(job: Job, state: State, batches: Iterator[Batch], world: World) -> StepResult:
    """One step over `accumulation` batches, equal to one big batch. The step's number and the rates are the caller's."""
    recipe = job.recipe
    total = torch.zeros((), device=world.device)
    waited = 0.0
    # batch norm moves its buffers in the forward pass; stopping or rolling back needs none of them
    buffers = {name: value.clone() for name, value in state.network.named_buffers() if recipe.on_nan.startswith("skip")}
    for part in range(recipe.accumulation):
        report_activity("waiting for data", state.step)
        began = time.perf_counter()
        images, labels = next(batches)
        waited += time.perf_counter() - began
        report_activity("computing", state.step)
        last = part == recipe.accumulation - 1
        draw = state.step * recipe.accumulation + part
        with nullcontext() if last or world.size == 1 else state.replica.no_sync():  # type: ignore[operator]
            loss = _forward(job, state, images, labels, draw, world) / recipe.accumulation
            state.scaler.scale(loss).backward()
        total += loss.detach()
    norms, bad = _update(job, state, total, world)
    if bad:
        present = dict(state.network.named_buffers())
        for name, value in buffers.items():
            present[name].copy_(value)
    return StepResult(total, norms, waited, bad)


def _forward(job: Job, state: State, images: Tensor, labels: Tensor, draw: int, world: World) -> Tensor:
    """The loss of one batch. All randomness is a function of (seed, draw, rank): a resumed run needs no generator's state."""
    device = world.device
    generator = step_generator(job.seed, draw, world.rank, device)
    torch.manual_seed(
        generator.initial_seed() ^ 0x5DEECE66D
    )  # drop path and dropout: not the stream of the augmentation
    inputs, targets = job.augment(images.to(device, non_blocking=True), labels.to(device, non_blocking=True), generator)
    at_depth = () if job.draw is None else (job.draw.at(state.step),)
    with autocast(job.recipe.precision, device):
        return job.objective(state.replica(inputs, *at_depth), inputs, targets)


def _update(job: Job, state: State, loss: Tensor, world: World) -> tuple[Norms, bool]:
    """Checks, clips and steps. Gradients are averaged over the ranks by now; a loss is one rank's own, so they ask each other."""
    state.scaler.unscale_(state.optimizer)
    norms = gradient_norms(state.network)
    bad = is_bad(loss, norms.total, state.scaler, world)
    if not bad:
        limit = job.recipe.clip_grad if job.recipe.clip_grad is not None else math.inf
        nn.utils.clip_grads_with_norm_(state.network.parameters(), limit, norms.total, foreach=True)
        state.scaler.step(state.optimizer)
        if state.ema is not None:
            state.ema.update(state.network, step=state.step)
    return norms, bad


def end_step(state: State) -> None:
    """After a step, taken or not: the scaler's next scale, and gradients gone."""
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
