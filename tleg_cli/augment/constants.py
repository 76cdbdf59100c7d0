"""Small constant tensors, copied to each device once.

A copy from pageable memory makes the host wait for the GPU; in every step that would undo what the rest of this package avoids.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """The values as float32, shape (len(values),). Not to be written to: every caller gets the same tensor."""
    with torch.inference_mode(False):  # a tensor born in evaluation must still serve in training
        return torch.tensor(values, dtype=torch.float32).to(device)


def per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """One number per channel, shape (1, channels, 1, 1), to be broadcast over a batch of images."""
    return constant(tuple(values), device).view(1, -1, 1, 1)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(pixel / 255 - mean) / std.

    images: (batch, 3, height, width) uint8. mean, std: of pixels in 0..1. Returns float32 of the same shape.
    """
    return images.float().div_(255).sub_(per_channel(mean, images.device)).div_(per_channel(std, images.device))
