"""What happens to a training batch on the device, in this order: RandAugment or colour jitter, normalise, erase, mixup.

Nothing here waits for the GPU, and all randomness comes from the generator that the caller passes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from tleg_cli.augment.constants import normalise
from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.erasing import erase, erase_in_place
from tleg_cli.augment.mixup import Mixing, mix, soft_targets
from tleg_cli.augment.policy import parse_policy
from tleg_cli.augment.randaugment import colour_jitter, rand_augment
from tleg_cli.config import AugmentationSection

__all__ = ["Augment", "make_augment", "normalise", "step_generator"]

# images (batch, 3, height, width) uint8, labels (batch,) int64 -> images float32, targets (batch, classes) float32
Augment = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]


def make_augment(
    section: AugmentationSection,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    classes: int,
    smoothing: float,
) -> Augment:
    """The function that turns a batch of the loader, cropped and flipped there, into inputs and soft targets.

    The images it is given are never written to: FFCV reuses their memory. Raises ConfigError for an unknown
    auto_augment. The generator must be on the device of the images.
    """
    recolour = _recolour(section, mean)
    erasing: Any = {"probability": section.erase, "mode": section.erase_mode, "count": section.erase_count}
    mixing = Mixing(section.mixup, section.cutmix, section.mixup_prob, section.mixup_switch)

    def augment(images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        fast = compiled.usable(images)
        inputs = (compiled.normalise if fast else normalise)(recolour(images, generator), mean, std)
        targets = soft_targets(labels, classes, smoothing)
        if inputs.device.type == "cpu":
            erase_in_place(inputs, **erasing, generator=generator)
        else:
            inputs = erase(inputs, **erasing, generator=generator)
        if not fast:
            return mix(inputs, targets, mixing, generator)
        compiled.mix_in_place(inputs, targets, mixing, generator)
        return inputs, targets

    return augment


def _recolour(section: AugmentationSection, mean: tuple[float, ...]) -> Callable[[Tensor, Generator], Tensor]:
    """RandAugment, or colour jitter without a policy: like timm's transforms_factory, it never combines them."""
    if not section.auto_augment:
        return lambda images, generator: colour_jitter(images, section.color_jitter, generator)
    policy = parse_policy(section.auto_augment)
    fill = tuple(float(min(255, round(255 * value))) for value in mean)
    return lambda images, generator: rand_augment(images, policy, fill, generator)


def step_generator(seed: int, step: int, rank: int, device: torch.device | str) -> Generator:
    """The generator of one step on one rank: a function of its arguments, so that no state has to be in a checkpoint.

    Hashed, since neighbouring seeds must not give related streams; the CPU's generator uses the lower 32 bits only.
    """
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=8).digest()
    generator = Generator(device=device)
    generator.manual_seed(int.from_bytes(digest, "big") >> 1)  # non-negative int64
    return generator
