"""How one image becomes a square: random resized crop and flip for training, timm's centre crop for evaluation.

The random ones are pure functions of (seed, draw), written once: Python calls them, and numba compiles the same source. Therefore
they use plain arithmetic on ints below 2**63 and floats only: numba's int64 wraps where Python's int grows, and `& _LOW` makes both equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_LOW = 0xFFFFFFFF
_TRIES = 10  # as in torchvision

Numbers = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class CropRule:
    """scale: share of the area, None for the centre crop; ratio: width / height. flip: probability of a mirror image."""

    seed: int
    scale: tuple[float, float] | None
    ratio: tuple[float, float]
    flip: float

    def numbers(self) -> Numbers:
        """What `random_box` and `flipped` take: scale, log ratio, flip."""
        low, high = self.scale or (1.0, 1.0)
        return float(low), float(high), math.log(self.ratio[0]), math.log(self.ratio[1]), float(self.flip)


def random_box(height: int, width: int, seed: int, draw: int, numbers: Numbers) -> tuple[int, int, int, int]:
    """top, left, height, width of torchvision's RandomResizedCrop (Szegedy et al. 2014): ten tries, then the largest centred box."""
    area = float(height * width)
    for attempt in range(_TRIES):
        target = area * (numbers[0] + (numbers[1] - numbers[0]) * uniform(seed, draw, 4 * attempt + 1))
        ratio = math.exp(numbers[2] + (numbers[3] - numbers[2]) * uniform(seed, draw, 4 * attempt + 2))
        w = math.floor(math.sqrt(target * ratio) + 0.5)
        h = math.floor(math.sqrt(target / ratio) + 0.5)
        if 0 < w <= width and 0 < h <= height:
            top = math.floor(uniform(seed, draw, 4 * attempt + 3) * (height - h + 1))
            left = math.floor(uniform(seed, draw, 4 * attempt + 4) * (width - w + 1))
            return top, left, h, w
    w, h = width, height
    if width / height < math.exp(numbers[2]):
        h = min(height, max(1, math.floor(width / math.exp(numbers[2]) + 0.5)))
    elif width / height > math.exp(numbers[3]):
        w = min(width, max(1, math.floor(height * math.exp(numbers[3]) + 0.5)))
    return (height - h) // 2, (width - w) // 2, h, w


def flipped(seed: int, draw: int, numbers: Numbers) -> bool:
    """Whether this draw is a mirror image."""
    return uniform(seed, draw, 0) < numbers[4]


def uniform(seed: int, draw: int, number: int) -> float:
    """The `number`-th random number of a draw, in [0, 1)."""
    return mix(mix(mix(seed) ^ draw) ^ mix(number + 1)) / 4294967296.0


def mix(x: int) -> int:
    """A bijection of 32-bit numbers in which every bit affects every other (lowbias32, nullprogram.com/blog/2018/07/31)."""
    x = x & _LOW
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _LOW
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _LOW
    return x ^ (x >> 16)


COMPILED = (mix, uniform, random_box, flipped)  # what numba compiles; a function comes after those that it calls


def centre_crop(image_size: int, crop_pct: float, interpolation: str) -> Callable[[Image], Image]:
    """RGB image -> its middle, image_size pixels square: the shorter side becomes floor(image_size / crop_pct) before the cut.

    interpolation: bicubic or bilinear, with antialiasing, as Pillow does it.
    """
    from timm.data import create_transform
    from torchvision.transforms import Compose

    complete = create_transform(image_size, crop_pct=crop_pct, interpolation=interpolation, normalize=False)
    return Compose(complete.transforms[:-1])  # the last one makes a tensor
