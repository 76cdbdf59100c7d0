"""Colour jitter on a batch: brightness, contrast and saturation, each by a random factor, in a random order per sample.

As timm does it: torchvision's ColorJitter on PIL images with one strength for all three and no hue.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from tleg_cli.data.augment.choice import Choice
from tleg_cli.data.augment.layer import apply_all

JITTER = ("Brightness", "Contrast", "Color")
_UNUSED_FILL = (0.0, 0.0, 0.0)  # nothing here is geometric


def draw(strength: float, batch: int, device: torch.device, generator: Generator) -> list[Choice]:
    """Three Choices, so that each sample gets all of JITTER once, by factors uniform in max(0, 1 - strength)..1 + strength."""
    shape = (len(JITTER), batch)
    order = torch.rand(shape, device=device, generator=generator).argsort(0)
    low = max(0.0, 1 - strength)
    factors = low + (1 + strength - low) * torch.rand(shape, device=device, dtype=torch.float64, generator=generator)
    return [Choice(JITTER, index, factor) for index, factor in zip(order, factors, strict=True)]


def colour_jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """images: (batch, 3, height, width) uint8; so is the result. strength: as timm's --color-jitter; 0 changes nothing."""
    if strength == 0:
        return images
    return apply_all(images, draw(strength, len(images), images.device, generator), _UNUSED_FILL)
