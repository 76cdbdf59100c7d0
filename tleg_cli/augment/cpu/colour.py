"""The operations on colour for one image at a time, compiled. Only kernel.py imports it: needs numba.

The same arithmetic as colour.py of the folder above, bit by bit. An image is (height, 3 * width) uint8, its channels interleaved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from tleg_cli.augment.cpu.compile_once import kept

AUTO_CONTRAST, EQUALIZE, INVERT, POSTERIZE, SOLARIZE, SOLARIZE_ADD, BRIGHTNESS, CONTRAST, COLOR, SHARPNESS = range(10)


@kept
def recolour(operation: int, argument: float, source: Any, target: Any, tables: Any, counts: Any, sums: Any) -> None:
    """Writes the image `source` with one operation to `target`, another image.

    tables: (3, 256) uint8, counts: (3, 256) int64, sums: (2, 3 * width) int32: scratch.
    """
    pixels, result = source.reshape(source.size // 3, 3), target.reshape(target.size // 3, 3)
    if operation == COLOR:
        _towards_grey(np.float32(argument), pixels, result)
    elif operation == SHARPNESS:
        _towards_smooth(np.float32(argument), source, target, sums[0])
    else:
        if operation == AUTO_CONTRAST:
            _auto_contrast(source, tables, sums)
        elif operation == EQUALIZE:
            _equalize(pixels, tables, counts)
        else:
            middle = _mean_of_grey(pixels) if operation == CONTRAST else 0
            for level in range(256):
                new = _new_level(operation, argument, middle, level)
                tables[0, level], tables[1, level], tables[2, level] = new, new, new
        _look_up(pixels, tables, result)


@register_jitable
def _look_up(pixels: Any, tables: Any, result: Any) -> None:
    red, green, blue = tables[0], tables[1], tables[2]
    for place in range(len(pixels)):
        result[place, 0] = red[pixels[place, 0]]
        result[place, 1] = green[pixels[place, 1]]
        result[place, 2] = blue[pixels[place, 2]]


@register_jitable
def _blend(degenerate: int, level: int, factor: Any) -> Any:
    start = np.float32(degenerate)
    value = start + factor * (np.float32(level) - start)
    return np.uint8(min(max(value, np.float32(0)), np.float32(255)))


@register_jitable
def _new_level(operation: int, argument: float, middle: int, level: int) -> Any:
    """The new level by the operations that depend on no image, or on its mean only."""
    if operation == INVERT:
        return np.uint8(255 - level)
    if operation == POSTERIZE:
        return np.uint8(level & (-1 << (8 - min(max(int(argument), 0), 8))))
    if operation == SOLARIZE:
        return np.uint8(level if level < argument else 255 - level)
    if operation == SOLARIZE_ADD:
        return np.uint8(min(level + int(argument), 255) if level < 128 else level)
    return _blend(middle, level, np.float32(argument))  # BRIGHTNESS, whose middle is 0, and CONTRAST


@register_jitable
def _auto_contrast(source: Any, tables: Any, sums: Any) -> None:
    lows, highs = sums[0], sums[1]  # of each column and channel: vector instructions find many at a time
    for i in range(source.shape[1]):
        lows[i], highs[i] = 255, 0
    for y in range(len(source)):
        row = source[y]
        for i in range(len(row)):
            lows[i], highs[i] = min(lows[i], np.int32(row[i])), max(highs[i], np.int32(row[i]))
    for channel in range(3):
        low, high = lows[channel], highs[channel]
        for x in range(source.shape[1] // 3):
            low, high = min(low, lows[3 * x + channel]), max(high, highs[3 * x + channel])
        scale = 255.0 / max(high - low, 1)
        for level in range(256):
            stretched = level * scale - low * scale if high > low else float(level)
            tables[channel, level] = np.uint8(min(max(stretched, 0.0), 255.0))


@register_jitable
def _equalize(pixels: Any, tables: Any, counts: Any) -> None:
    for level in range(256):
        counts[0, level], counts[1, level], counts[2, level] = 0, 0, 0
    for place in range(len(pixels)):
        for channel in range(3):
            counts[channel, pixels[place, channel]] += 1
    for channel in range(3):
        brightest = 255
        while counts[channel, brightest] == 0:
            brightest -= 1
        step = (len(pixels) - counts[channel, brightest]) // 255  # Pillow leaves the brightest level out
        below = 0
        for level in range(256):
            tables[channel, level] = np.uint8(min((step // 2 + below) // step, 255) if step > 0 else level)
            below += counts[channel, level]


@register_jitable
def _grey(red: Any, green: Any, blue: Any) -> Any:
    weighted = np.int32(red) * np.int32(19595) + np.int32(green) * np.int32(38470) + np.int32(blue) * np.int32(7471)
    return np.int32((weighted + np.int32(0x8000)) >> 16)


@register_jitable
def _mean_of_grey(pixels: Any) -> int:
    total = 0
    for place in range(len(pixels)):
        total += _grey(pixels[place, 0], pixels[place, 1], pixels[place, 2])
    return (2 * total + len(pixels)) // (2 * len(pixels))  # rounded half up


@register_jitable
def _towards_grey(factor: Any, pixels: Any, result: Any) -> None:
    for place in range(len(pixels)):
        grey = _grey(pixels[place, 0], pixels[place, 1], pixels[place, 2])
        for channel in range(3):
            result[place, channel] = _blend(grey, pixels[place, channel], factor)


@register_jitable
def _towards_smooth(factor: Any, source: Any, target: Any, sums: Any) -> None:
    """Towards Pillow's SMOOTH: nine weights of 1, with 5 in the middle, over 13; it copies the outermost pixels."""
    height, values = source.shape
    left, middle, right = sums, sums[3:], sums[6:]
    for y in range(height):
        row, result = source[y], target[y]
        for i in range(values):
            result[i] = row[i]
        if y == 0 or y == height - 1:
            continue
        above, below, inside, inner = source[y - 1], source[y + 1], row[3:], result[3:]
        for i in range(values):
            sums[i] = np.int32(above[i]) + np.int32(row[i]) + np.int32(below[i])
        for i in range(values - 6):
            level = np.int32(inside[i])
            twice = (left[i] + middle[i] + right[i] + level * np.int32(4)) * np.int32(2) + np.int32(13)
            smooth = np.int32((twice * np.int32(20165)) >> np.int32(19))  # twice // 26, for all that twice can be
            inner[i] = _blend(smooth, level, factor)
