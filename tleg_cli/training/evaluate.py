"""Scores of a model on a split: every image exactly once, for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tleg_cli.augment.pipeline import normalise
from tleg_cli.config import Recipe
from tleg_cli.training.distributed import World, sum_over_ranks
from tleg_cli.training.optim import check_optimizer

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Scores:
    """Of one model on one split. top1, top5: percent; loss: mean cross-entropy; images: how many were counted."""

    top1: float
    top5: float
    loss: float
    images: int


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a forward pass has this precision."""
    return torch.autocast(device.type, _DTYPES[precision]) if precision in _DTYPES else nullcontext()


def has_units_for(precision: str) -> bool:
    """Whether this processor multiplies matrices of this precision at full speed. Without, torch falls back to plain loops."""
    test = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", None) if precision in _DTYPES else None
    return test is None or bool(test())


def check_recipe(recipe: Recipe, world: World, say: Callable[[str], None]) -> None:
    """Before anything is loaded: raises ConfigError for what can't be trained, and warns of what this processor is slow at."""
    check_optimizer(recipe)
    if world.device.type == "cpu" and not has_units_for(recipe.precision):
        say(
            f"warning: this CPU has no native {recipe.precision} support; training may be many times slower than with "
            "precision=fp32"
        )


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    world: World,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    precision: str,
    expected: int,
) -> Scores:
    """The scores over all ranks. batches: uint8 images (batch, 3, size, size) and labels (batch,) of this rank.

    Raises RuntimeError if not exactly `expected` images were counted: that would be a bug, and a wrong score.
    """
    was_training = model.training
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)
    for images, labels in batches:
        labels = labels.to(world.device)
        with autocast(precision, world.device):
            logits = model(normalise(images.to(world.device, non_blocking=True), mean, std))
        sums += _count(logits.float(), labels)
    model.train(was_training)
    top1, top5, loss, counted = sum_over_ranks(sums, world).tolist()
    if counted != expected:
        raise RuntimeError(f"evaluation counted {counted:.0f} images, but the split has {expected}")
    return Scores(100 * top1 / counted, 100 * top5 / counted, loss / counted, int(counted))


def _count(logits: Tensor, labels: Tensor) -> Tensor:
    """(4,): right at first guess, among the first five, summed loss, images."""
    guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    numbers = (guesses[:, 0].sum(), guesses.sum(), loss, torch.tensor(len(labels), device=labels.device))
    return torch.stack([number.double() for number in numbers])
