"""Random crops and flips as pure functions of (seed, draw): the same in plain Python and, compiled by numba, in FFCV.

Written in the little that both understand: floats, ints below 2**63 and explicit masks. torchvision's RandomResizedCrop.
"""

from __future__ import annotations

import math

_MASK = 0x7FFFFFFF  # 31 bits: products of two stay exact in int64


def uniform(seed: int, draw: int, number: int) -> float:
    """The `number`-th random float in [0, 1) of a draw. A counter-based hash (murmur3's finalizer, twice 31 bits)."""
    state = (seed ^ (draw & _MASK)) & _MASK
    for part in (draw >> 31, number + 0x9E37, seed):
        state = (state ^ (part & _MASK)) & _MASK
        state ^= state >> 15
        state = (state * 0x2C1B3C6D) & _MASK
        state ^= state >> 12
        state = (state * 0x297A2D39) & _MASK
        state ^= state >> 15
    return state / 2147483648.0


def random_crop(
    height: int,
    width: int,
    seed: int,
    draw: int,
    scale_low: float,
    scale_high: float,
    log_ratio_low: float,
    log_ratio_high: float,
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop: up to ten tries for area and aspect ratio, else the largest centred one."""
    area = height * width
    for attempt in range(10):
        target = area * (scale_low + (scale_high - scale_low) * uniform(seed, draw, 4 * attempt))
        ratio = math.exp(log_ratio_low + (log_ratio_high - log_ratio_low) * uniform(seed, draw, 4 * attempt + 1))
        w = round(math.sqrt(target * ratio))
        h = round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(uniform(seed, draw, 4 * attempt + 2) * (height - h + 1))
            left = int(uniform(seed, draw, 4 * attempt + 3) * (width - w + 1))
            return top, left, h, w
    w, h = width, height
    if width < height * math.exp(log_ratio_low):
        h = min(height, round(width / math.exp(log_ratio_low)))
    elif width > height * math.exp(log_ratio_high):
        w = min(width, round(height * math.exp(log_ratio_high)))
    return (height - h) // 2, (width - w) // 2, h, w


def flipped(seed: int, draw: int, probability: float) -> bool:
    """Whether this draw is mirrored."""
    return uniform(seed, draw, 1000) < probability


def center_crop(height: int, width: int, ratio: float) -> tuple[int, int, int, int]:
    """(top, left, side, side): the centred square of `ratio` times the shorter side."""
    side = max(1, round(ratio * min(height, width)))
    return (height - side) // 2, (width - side) // 2, side, side
