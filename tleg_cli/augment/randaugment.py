"""RandAugment on a batch (Cubuk et al. 2020, arXiv 1909.13719) as timm interprets it: every sample draws its own operations.

No library has this on the device: torchvision and kornia draw one set of operations for all samples of a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from tleg_cli.augment.constants import constant
from tleg_cli.augment.drawn_operations import UNTOUCHED, DrawnOperations
from tleg_cli.augment.layer import apply_all
from tleg_cli.augment.levels import LEVELS
from tleg_cli.augment.policy import Policy

_LEVEL = 10.0  # the magnitude that timm's operations are scaled to
JITTER = ("Brightness", "Contrast", "Color")
_UNUSED_FILL = (0.0, 0.0, 0.0)  # colour jitter has no geometry


def rand_augment(images: Tensor, policy: Policy, fill: tuple[float, ...], generator: Generator) -> Tensor:
    """Applies `policy.layers` drawn operations to each sample, each with `policy.probability`.

    images: (batch, 3, height, width) uint8; so is the result. fill: three levels for what was outside the image.
    """
    return apply_all(images, draw(policy, len(images), images.device, generator), fill)


def draw(policy: Policy, batch: int, device: torch.device, generator: Generator) -> list[DrawnOperations]:
    """For each layer: operations, whether they happen, magnitudes and signs, all drawn per sample."""
    drawn = draw_names(policy, batch, device, generator)
    levels = draw_magnitudes(policy, batch, device, generator) / _LEVEL
    signs = 1.0 - 2.0 * (_uniform(policy, batch, device, generator) > 0.5)
    happens = _uniform(policy, batch, device, generator) <= policy.probability
    return [_operations(policy, *layer) for layer in zip(drawn, happens, levels, signs, strict=True)]


def draw_names(policy: Policy, batch: int, device: torch.device, generator: Generator) -> Tensor:
    """Indices into policy.names, (layers, batch) int64: evenly with replacement, or by weight without."""
    if policy.weights is None:
        return torch.randint(len(policy.names), (policy.layers, batch), device=device, generator=generator)
    # Efraimidis & Spirakis 2006: the largest w / Exp(1) are a weighted draw without replacement. torch.multinomial would wait.
    waiting = -torch.rand(batch, len(policy.names), device=device, generator=generator).log()
    return (constant(policy.weights, device) / waiting).topk(policy.layers, dim=1).indices.t()


def draw_magnitudes(policy: Policy, batch: int, device: torch.device, generator: Generator) -> Tensor:
    """(layers, batch) float64, as exact as timm's Python floats, since levels are truncated to bits and thresholds."""
    if math.isinf(policy.spread):
        magnitudes = policy.magnitude * _uniform(policy, batch, device, generator)
    else:
        noise = torch.randn(policy.layers, batch, device=device, dtype=torch.float64, generator=generator)
        magnitudes = policy.magnitude + policy.spread * noise
    return magnitudes.clamp(0, policy.limit)


def _uniform(policy: Policy, batch: int, device: torch.device, generator: Generator) -> Tensor:
    return torch.rand(policy.layers, batch, device=device, dtype=torch.float64, generator=generator)


def _operations(policy: Policy, drawn: Tensor, happens: Tensor, level: Tensor, sign: Tensor) -> DrawnOperations:
    """Translates timm's names into operations: each sample's argument is that of the name it drew."""
    levels = [LEVELS[name] for name in policy.names]
    arguments = torch.stack([each.argument(level, sign) for each in levels]).gather(0, drawn.unsqueeze(0))[0]
    return DrawnOperations(tuple(each.operation for each in levels), drawn.where(happens, UNTOUCHED), arguments)


def draw_jitter(strength: float, batch: int, device: torch.device, generator: Generator) -> list[DrawnOperations]:
    """Three layers, so that each sample gets all of JITTER once, by factors uniform in max(0, 1 - strength)..1 + strength."""
    shape = (len(JITTER), batch)
    order = torch.rand(shape, device=device, generator=generator).argsort(0)
    low = max(0.0, 1 - strength)
    factors = low + (1 + strength - low) * torch.rand(shape, device=device, dtype=torch.float64, generator=generator)
    return [DrawnOperations(JITTER, index, factor) for index, factor in zip(order, factors, strict=True)]


def colour_jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """images: (batch, 3, height, width) uint8; so is the result. strength: as timm's --color-jitter; 0 changes nothing."""
    if strength == 0:
        return images
    return apply_all(images, draw_jitter(strength, len(images), images.device, generator), _UNUSED_FILL)
