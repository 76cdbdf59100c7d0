"""Random resized crop and flip as pure functions of (seed, draw), written once: Python calls them, and numba compiles the same source.

Therefore plain arithmetic on ints below 2**63 and floats only: numba's int64 wraps where Python's int grows, and `& _LOW` makes both equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_LOW = 0xFFFFFFFF
_TRIES = 10  # as in torchvision

Numbers = tuple[float, float, float, float, float, float, float, float]


@dataclass(frozen=True)
class CropRule:
    """How one image becomes a square. scale: share of the area, None for the centre crop; ratio: width / height.

    centre: side of the centre crop / shorter side of the image. flip: probability of a mirror image.
    resized: pixels of the shorter side from which timm cuts the centre; 0 for the exact middle.
    """

    seed: int
    scale: tuple[float, float] | None
    ratio: tuple[float, float]
    centre: float
    flip: float
    resized: int = 0

    def numbers(self) -> Numbers:
        """What `crop` takes: scale, log ratio, flip, centre, whether the crop is random, and resized."""
        low, high = self.scale or (1.0, 1.0)
        logs = math.log(self.ratio[0]), math.log(self.ratio[1])
        last = float(self.flip), float(self.centre), float(self.scale is not None), float(self.resized)
        return float(low), float(high), *logs, *last


def centre_ratio(image_size: int, crop_pct: float) -> float:
    """The side of timm's centre crop over the shorter side: resized to floor(image_size / crop_pct), image_size is kept."""
    return image_size / resized_side(image_size, crop_pct)


def resized_side(image_size: int, crop_pct: float) -> int:
    """To how many pixels timm resizes the shorter side before it cuts the centre."""
    return max(image_size, math.floor(image_size / crop_pct))


def mix(x: int) -> int:
    """A bijection of 32-bit numbers in which every bit moves every other (lowbias32, nullprogram.com/blog/2018/07/31)."""
    x = x & _LOW
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _LOW
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _LOW
    return x ^ (x >> 16)


def uniform(seed: int, draw: int, number: int) -> float:
    """The `number`-th random number of a draw, in [0, 1)."""
    return mix(mix(mix(seed) ^ draw) ^ mix(number + 1)) / 4294967296.0


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


def centre_box(height: int, width: int, ratio: float, resized: int) -> tuple[int, int, int, int]:
    """top, left, height, width of the centred square whose side is `ratio` times the shorter side.

    resized: not 0: where timm's crop lies, which is cut from a resized image and begins at one of its whole pixels.
    """
    shorter = min(height, width)
    side = max(1, math.floor(shorter * ratio + 0.5))
    if resized == 0:
        return (height - side) // 2, (width - side) // 2, side, side
    cut = math.floor(resized * ratio + 0.5)
    return (
        centre_start(height, shorter, side, cut, resized),
        centre_start(width, shorter, side, cut, resized),
        side,
        side,
    )


def centre_start(length: int, shorter: int, side: int, cut: int, resized: int) -> int:
    """The first pixel of timm's centre crop on one axis, in pixels of the image before it is resized."""
    there = resized * length // shorter  # torchvision's Resize rounds down
    over = there - cut
    start = over // 2 + (over & 1) * (over // 2 & 1)  # torchvision's CenterCrop rounds halves to the even number
    return min(length - side, math.floor(start * length / there + 0.5))


def crop(height: int, width: int, seed: int, draw: int, numbers: Numbers) -> tuple[int, int, int, int]:
    """The box that a CropRule's `numbers` ask for: top, left, height, width."""
    if numbers[6] > 0.5:
        return random_box(height, width, seed, draw, numbers)
    return centre_box(height, width, numbers[5], int(numbers[7]))


def flipped(seed: int, draw: int, numbers: Numbers) -> bool:
    """Whether this draw is a mirror image."""
    return uniform(seed, draw, 0) < numbers[4]


COMPILED = (
    mix,
    uniform,
    random_box,
    centre_start,
    centre_box,
    crop,
    flipped,
)  # what numba compiles, in the order of their calls
