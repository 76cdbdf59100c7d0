"""What the magnitude of each of timm's operations means: degrees, bits, thresholds, blend factors.

A larger magnitude changes the image more for the names that end in Increasing, and less or otherwise for their plain counterparts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ToArgument = Callable[[Tensor, Tensor], Tensor]  # level = magnitude / 10 and sign = +-1, both float64 (batch,)


@dataclass(frozen=True)
class Level:
    """operation: its name in tables, blends or geometry. argument: in the operation's own unit."""

    operation: str
    argument: ToArgument


def _none(level: Tensor, _sign: Tensor) -> Tensor:
    return torch.zeros_like(level)


def _rotate(level: Tensor, sign: Tensor) -> Tensor:
    return sign * level * 30  # degrees


def _shear(level: Tensor, sign: Tensor) -> Tensor:
    return sign * level * 0.3


def _translate(level: Tensor, sign: Tensor) -> Tensor:
    return sign * level * 0.45  # of the side


def _posterize(level: Tensor, _sign: Tensor) -> Tensor:
    return (level * 4).floor().clamp(max=8)  # bits kept; 8 are all


def _posterize_increasing(level: Tensor, _sign: Tensor) -> Tensor:
    return (4 - (level * 4).floor()).clamp(min=0)


def _solarize(level: Tensor, _sign: Tensor) -> Tensor:
    return (level * 256).floor().clamp(max=256)


def _solarize_increasing(level: Tensor, sign: Tensor) -> Tensor:
    return 256 - _solarize(level, sign)


def _solarize_add(level: Tensor, _sign: Tensor) -> Tensor:
    return (level * 110).floor().clamp(max=128)


def _enhance(level: Tensor, _sign: Tensor) -> Tensor:
    return level * 1.8 + 0.1  # 1 changes nothing


def _enhance_increasing(level: Tensor, sign: Tensor) -> Tensor:
    return (1 + sign * (level * 0.9)).clamp(min=0.1)


LEVELS: dict[str, Level] = {
    "AutoContrast": Level("AutoContrast", _none),
    "Equalize": Level("Equalize", _none),
    "Invert": Level("Invert", _none),
    "Rotate": Level("Rotate", _rotate),
    "Posterize": Level("Posterize", _posterize),
    "PosterizeIncreasing": Level("Posterize", _posterize_increasing),
    "Solarize": Level("Solarize", _solarize),
    "SolarizeIncreasing": Level("Solarize", _solarize_increasing),
    "SolarizeAdd": Level("SolarizeAdd", _solarize_add),
    "Color": Level("Color", _enhance),
    "ColorIncreasing": Level("Color", _enhance_increasing),
    "Contrast": Level("Contrast", _enhance),
    "ContrastIncreasing": Level("Contrast", _enhance_increasing),
    "Brightness": Level("Brightness", _enhance),
    "BrightnessIncreasing": Level("Brightness", _enhance_increasing),
    "Sharpness": Level("Sharpness", _enhance),
    "SharpnessIncreasing": Level("Sharpness", _enhance_increasing),
    "ShearX": Level("ShearX", _shear),
    "ShearY": Level("ShearY", _shear),
    "TranslateXRel": Level("TranslateXRel", _translate),
    "TranslateYRel": Level("TranslateYRel", _translate),
}
