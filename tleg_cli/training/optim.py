"""Optimiser and learning rate of a recipe; timm makes both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tleg_cli.config import Recipe
from tleg_cli.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Budget:
    """The figures that follow from a recipe, the data and the processes; shown at the start and saved."""

    images_per_epoch: int  # that a step sees, over all ranks
    global_batch: int  # images per step
    steps_per_epoch: int
    epochs: int  # cooldown included
    lr: float  # the highest, after scaling
    limit: int | None = None  # steps after which training ends, if the recipe counts steps and not epochs

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs if self.limit is None else self.limit


def budget_of(recipe: Recipe, batches: int, world_size: int) -> Budget:
    """batches: what one rank's loader yields in an epoch. Raises ConfigError if they don't make one step."""
    steps = batches // recipe.accumulation
    if steps == 0:
        raise ConfigError(
            f"an epoch has {batches} batches, too few for accumulation = {recipe.accumulation}; lower it or batch_size"
        )
    global_batch = recipe.batch_size * world_size * recipe.accumulation
    scale = global_batch / recipe.lr_batch if recipe.lr_batch else 1.0
    epochs = recipe.epochs + recipe.cooldown_epochs if recipe.steps is None else -(-recipe.steps // steps)
    return Budget(steps * global_batch, global_batch, steps, epochs, recipe.lr * scale, recipe.steps)


def recipe_warnings(recipe: Recipe, budget: Budget) -> list[str]:
    """What a recipe does that is hardly meant, one line each: a rate that never arrives, or moves the wrong way."""
    lines = []
    epochs = recipe.epochs if budget.limit is None else budget.limit / budget.steps_per_epoch
    if 0 < epochs < recipe.warmup_epochs:
        done = min(1.0, (budget.steps - 1) / budget.steps_per_epoch / recipe.warmup_epochs)
        highest = recipe.warmup_lr + done * (budget.lr - recipe.warmup_lr)
        lines.append(
            f"warmup_epochs = {recipe.warmup_epochs:g} is longer than the {epochs:g} epochs of training: the learning "
            f"rate rises to {highest:.3g} (lr: {budget.lr:.3g}), and no cosine decay follows; lower warmup_epochs"
        )
    if recipe.cooldown_epochs > epochs > 0:
        lines.append(
            f"cooldown_epochs = {recipe.cooldown_epochs} is longer than the {recipe.epochs} epochs before it: most steps are "
            f"taken at min_lr = {recipe.min_lr:.3g}; lower cooldown_epochs"
        )
    if recipe.min_lr > budget.lr:
        lines.append(
            f"min_lr = {recipe.min_lr:.3g} is above lr = {budget.lr:.3g}: the learning rate rises instead of falling; "
            "lower min_lr"
        )
    if recipe.warmup_epochs and recipe.warmup_lr > budget.lr:
        lines.append(
            f"warmup_lr = {recipe.warmup_lr:.3g} is above lr = {budget.lr:.3g}: the learning rate falls during warm-up; "
            "lower warmup_lr"
        )
    return [f"warning: {line}" for line in lines]


def check_optimizer(recipe: Recipe) -> None:
    """Raises ConfigError for a name that timm doesn't know."""
    from timm.optim import list_optimizers

    known = list_optimizers()
    if recipe.optimizer.lower() not in known:
        raise ConfigError(f"optimizer {recipe.optimizer!r} is unknown to timm.{did_you_mean(recipe.optimizer, known)}")


def make_optimizer(model: nn.Module, recipe: Recipe, lr: float, *, fused: bool = False) -> torch.optim.Optimizer:
    """timm's optimiser; vectors (biases, norms) and what the model names are not decayed. fused: torch's one kernel for all weights."""
    from timm.optim import create_optimizer_v2

    options: dict[str, Any] = {"betas": recipe.betas} if "adam" in recipe.optimizer.lower() else {}
    if fused:
        options["fused"] = True
    return create_optimizer_v2(
        model,
        opt=recipe.optimizer,
        lr=lr,
        weight_decay=recipe.weight_decay,
        eps=recipe.eps,
        layer_decay=recipe.layer_decay,
        **options,
    )


def can_check_late(recipe: Recipe, device: torch.device) -> bool:
    """Whether the device can leave a bad step out by itself: torch's fused AdamW can. See late_checks.py.

    Not with rollback: the host would hear of it some steps later, and a run that was stopped in between would go on from other data.
    A processor's values are read at once anyway.
    """
    return device.type == "cuda" and recipe.optimizer.lower() == "adamw" and recipe.on_nan != "rollback"


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, budget: Budget) -> Callable[[int], float]:
    """A function that sets the rate for a step (from 0) and returns it: linear warm-up, cosine to min_lr, cooldown.

    timm's CosineLRScheduler, which is a function of the step and has no state to save.
    """
    from timm.scheduler import CosineLRScheduler

    moves = budget.steps_per_epoch if recipe.schedule == "step" else 1
    length = recipe.epochs * moves
    if budget.limit is not None:
        length = budget.limit if recipe.schedule == "step" else budget.epochs
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=max(2, length),  # timm warns at 1, where there is nothing to move
        lr_min=recipe.min_lr,
        warmup_t=round(recipe.warmup_epochs * moves),
        warmup_lr_init=recipe.warmup_lr,
        cycle_limit=1,
        t_in_epochs=False,
    )

    def set_rate(step: int) -> float:
        scheduler.step_update(step if recipe.schedule == "step" else step // budget.steps_per_epoch)
        return max(group["lr"] for group in optimizer.param_groups)

    return set_rate
