"""The one training loop, for teacher, aux net and descendant. Interrupted anywhere, it carries on to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tleg_cli.config import Recipe
from tleg_cli.data.augment.pipeline import Augment, step_generator
from tleg_cli.data.loader import Batch, Loader
from tleg_cli.errors import Preempted, TlegError
from tleg_cli.training.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from tleg_cli.training.distributed import World, from_main, replicate, sum_over_ranks, wait_for_all
from tleg_cli.training.evaluate import autocast, evaluate
from tleg_cli.training.losses import Objective
from tleg_cli.training.optim import Plan, make_optimizer, make_schedule, plan_training
from tleg_cli.training.run_folder import RunFolder, write_metrics
from tleg_cli.training.signals import stop_requests

Record = dict[str, Any]  # one line of metrics.jsonl


class Watch(Protocol):
    """Who looks on. Only rank 0's watch shows anything."""

    def start(self, plan: Plan, done: int) -> None: ...
    def step(self, step: int, loss: Tensor, lr: float) -> None: ...
    def epoch(self, record: Record) -> None: ...
    def say(self, text: str) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Job:
    """What is trained, how and on what. mean, std: of the normalisation, for pixels in 0..1."""

    model: nn.Module
    objective: Objective
    recipe: Recipe
    train: Loader
    val: Loader
    augment: Augment
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int
    evaluate_first: bool = False  # also score the network before its first step


@dataclass
class State:
    """Everything that changes while training; what a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Any  # timm.utils.ModelEmaV3, or None
    step: int = 0
    history: list[Record] = field(default_factory=list)
    epoch_loss: Tensor | float = 0.0  # summed over the steps of the current epoch; stays on the device
    epoch_seconds: float = 0.0
    epoch_wait: float = 0.0  # of those, waiting for data


def fit(job: Job, run: RunFolder, world: World, watch: Watch) -> State:
    """Trains to the end of the recipe from the newest checkpoint in `run`, if there is one; returns the final state.

    Raises Preempted when asked to stop (a checkpoint is written), TlegError when the loss or a gradient is not finite.
    """
    plan = plan_training(job.recipe, job.train.batches, world.size)
    state = _resume(job, plan, run, world, watch)
    replica = replicate(job.model, world)
    set_rate = make_schedule(state.optimizer, job.recipe, plan)
    watch.start(plan, state.step)
    try:
        if _epoch_is_open(job, state, plan):
            _finish_epoch(job, state, plan, run, world, watch)
        with stop_requests(world) as asked_to_stop:
            while state.step < plan.steps:
                for loss, lr in _steps_of_epoch(job, state, plan, replica, world, set_rate):
                    watch.step(state.step, loss, lr)
                    if asked_to_stop():
                        _checkpoint(state, run, world)
                        raise Preempted(
                            f"stopped at step {state.step} of {plan.steps}; the same command carries on from there"
                        )
                _finish_epoch(job, state, plan, run, world, watch)
    finally:
        watch.stop()
    return state


def _epoch_is_open(job: Job, state: State, plan: Plan) -> bool:
    """Whether an epoch has all its steps but no scores yet: before the first step, or when stopped right after the last."""
    scored = state.history[-1]["step"] if state.history else None
    if state.step == 0:
        return job.evaluate_first and scored is None
    return state.step % plan.steps_per_epoch == 0 and scored != state.step


def _resume(job: Job, plan: Plan, run: RunFolder, world: World, watch: Watch) -> State:
    optimizer = make_optimizer(job.model, job.recipe, plan.lr)
    scaler = torch.amp.GradScaler(world.device.type, enabled=job.recipe.precision == "fp16")
    state = State(job.model, optimizer, scaler, _new_ema(job))
    found, passed_over = newest_checkpoint(run.checkpoints)
    for line in passed_over:
        watch.say(line)
    step = found.state["step"] if found else 0
    if from_main(step, world) != step:
        raise TlegError(
            f"rank {world.rank} sees checkpoint step {step}, rank 0 another: the run folder must be one shared folder"
        )
    if found:
        _restore(state, found)
        watch.say(f"resuming at step {state.step} of {plan.steps}")
    return state


def _new_ema(job: Job) -> Any:
    if job.recipe.ema_decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(job.model, decay=job.recipe.ema_decay)


def _restore(state: State, found: Checkpoint) -> None:
    state.model.load_state_dict(found.tensors["model"], strict=True)
    restore_optimizer(state.optimizer, found.tensors["optimizer"], found.state["optimizer"])
    state.scaler.load_state_dict(found.state["scaler"])
    if state.ema is not None:
        state.ema.load_state_dict(found.tensors["ema"], strict=True)
    for name in ("step", "history", "epoch_loss", "epoch_seconds", "epoch_wait"):
        setattr(state, name, found.state[name])


def _checkpoint(state: State, run: RunFolder, world: World) -> None:
    """Rank 0 writes; the others wait, so that no rank is a checkpoint ahead."""
    epoch_loss = _mean_over_ranks(state.epoch_loss, world)
    if world.main:
        tensors, plain = optimizer_tensors(state.optimizer)
        values = {name: getattr(state, name) for name in ("step", "history", "epoch_seconds", "epoch_wait")}
        content = Checkpoint(
            {"model": state.model.state_dict(), "optimizer": tensors},
            {"optimizer": plain, "scaler": state.scaler.state_dict(), "epoch_loss": epoch_loss, **values},
        )
        if state.ema is not None:
            content.tensors["ema"] = state.ema.state_dict()
        best = max(state.history, key=lambda record: record["top1"], default={"step": None})
        save_checkpoint(run.checkpoints, state.step, content, best=best["step"])
        write_metrics(run, state.history)
    wait_for_all(world)


def _steps_of_epoch(
    job: Job, state: State, plan: Plan, replica: nn.Module, world: World, set_rate: Any
) -> Iterator[tuple[Tensor, float]]:
    """Takes the steps that are left of the current epoch, yielding loss and learning rate after each."""
    epoch, done = divmod(state.step, plan.steps_per_epoch)
    replica.train()
    with closing(job.train.epoch(epoch, start=done * job.recipe.accumulation)) as batches:
        for _ in range(done, plan.steps_per_epoch):
            began = time.perf_counter()
            lr = set_rate(state.step)
            loss, waited = _step(job, state, replica, batches, world)
            state.step += 1
            state.epoch_loss = state.epoch_loss + loss.double()
            state.epoch_seconds += time.perf_counter() - began
            state.epoch_wait += waited
            yield loss, lr


def _step(job: Job, state: State, replica: nn.Module, batches: Iterator[Batch], world: World) -> tuple[Tensor, float]:
    """One optimiser step over `accumulation` batches, equal to one big batch. Returns the loss and the seconds spent waiting."""
    recipe = job.recipe
    total = torch.zeros((), device=world.device)
    waited = 0.0
    for part in range(recipe.accumulation):
        began = time.perf_counter()
        images, labels = next(batches)
        waited += time.perf_counter() - began
        last = part == recipe.accumulation - 1
        draw = state.step * recipe.accumulation + part
        with nullcontext() if last or world.size == 1 else replica.no_sync():  # type: ignore[operator]
            loss = _forward(job, replica, images, labels, draw, world) / recipe.accumulation
            state.scaler.scale(loss).backward()
        total += loss.detach()
    _update(state, recipe, total)
    return total, waited


def _forward(job: Job, replica: nn.Module, images: Tensor, labels: Tensor, draw: int, world: World) -> Tensor:
    """The loss of one batch. All randomness is a function of (seed, draw, rank): a resumed run needs no generator's state."""
    device = world.device
    generator = step_generator(job.seed, draw, world.rank, device)
    torch.manual_seed(
        generator.initial_seed() ^ 0x5DEECE66D
    )  # drop path and dropout: not the stream of the augmentation
    inputs, targets = job.augment(images.to(device, non_blocking=True), labels.to(device, non_blocking=True), generator)
    with autocast(job.recipe.precision, device):
        return job.objective(replica(inputs), inputs, targets)


def _update(state: State, recipe: Recipe, loss: Tensor) -> None:
    """Clips, checks and steps. Gradients are averaged over the ranks by now, so all of them decide alike."""
    state.scaler.unscale_(state.optimizer)
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    limit = recipe.clip_grad if recipe.clip_grad is not None else math.inf
    norm = nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    if not state.scaler.is_enabled() and not math.isfinite(float(norm)):
        raise TlegError(
            f"the gradient of step {state.step} is {float(norm)} (loss {float(loss)}); nothing was spoiled: the last checkpoint is "
            "as it was. Lower lr, set clip_grad, or use precision=fp32"
        )
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(state.model, step=state.step)


def _finish_epoch(job: Job, state: State, plan: Plan, run: RunFolder, world: World, watch: Watch) -> None:
    """Scores, one record, one checkpoint."""
    record: Record = {"epoch": state.step // plan.steps_per_epoch, "step": state.step}
    if state.step:
        record["loss"] = _mean_over_ranks(state.epoch_loss, world) / plan.steps_per_epoch
        record["lr"] = max(group["lr"] for group in state.optimizer.param_groups)
        record["images_per_second"] = plan.images_per_epoch / max(state.epoch_seconds, 1e-9)
        record["data_wait"] = state.epoch_wait / max(state.epoch_seconds, 1e-9)
    began = time.perf_counter()
    record |= score(job, state.model, world)
    if state.ema is not None:
        record |= {f"ema_{name}": value for name, value in score(job, state.ema.module, world).items()}
    record["seconds"] = state.epoch_seconds + time.perf_counter() - began
    state.history.append(record)
    state.epoch_loss = state.epoch_seconds = state.epoch_wait = 0.0
    _checkpoint(state, run, world)
    watch.epoch(record)


def _mean_over_ranks(value: Tensor | float, world: World) -> float:
    number = torch.as_tensor(value, dtype=torch.float64, device=world.device).clone()
    return float(sum_over_ranks(number, world)) / world.size


def score(job: Job, model: nn.Module, world: World) -> dict[str, float]:
    """top1, top5 (percent) and val_loss of the model on the whole validation split."""
    with closing(job.val.epoch(0)) as batches:
        scores = evaluate(
            model,
            batches,
            world,
            mean=job.mean,
            std=job.std,
            precision=job.recipe.precision,
            expected=job.val.samples,
        )
    return {"top1": scores.top1, "top5": scores.top5, "val_loss": scores.loss}
