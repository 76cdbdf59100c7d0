"""The geometric operations for one image at a time, compiled. Only kernel.py imports it: needs numba.

The same result as geometry.py, within one level: bicubic with a = -0.75, the border repeated, the fill outside the image.
Shear and translation move complete rows or columns, so that four neighbours are enough; a rotation needs sixteen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from tleg_cli.augment.cpu.compile_once import kept

ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = range(10, 15)
_SHARPNESS = np.float32(-0.75)  # a of the cubic, as torch has it
_4A, _5A, _8A, _A2, _A3 = np.float32(-3), np.float32(-3.75), np.float32(-6), np.float32(1.25), np.float32(2.25)
_ROUNDING = np.float32(1e-3)  # as in geometry.py


@kept
def warp(operation: int, matrix: Any, source: Any, target: Any, fill: Any, floats: Any, weights: Any) -> None:
    """Writes the image `source`, read through Pillow's (a, b, c, d, e, f), to `target`, another image.

    fill: three levels. floats: (height + 3, 3 * width), weights: (8, 3 * width), both float32 scratch.
    """
    if operation in (SHEAR_X, TRANSLATE_X):
        for y in range(len(source)):
            _shift_row(source[y], target[y], matrix[1] * (y + 0.5) + matrix[2], fill)
    elif operation == TRANSLATE_Y:
        _shift_rows(source, target, matrix[5], fill)
    elif operation == SHEAR_Y:
        _shift_columns(source, target, matrix, fill, floats, weights)
    else:
        _rotate(source, target, matrix, fill, floats, weights)


@register_jitable
def _cubic(part: Any) -> tuple[Any, Any, Any, Any]:
    """Weights of the neighbours at -1, 0, 1 and 2, for a place `part` of the way from 0 to 1."""
    a, one, two = _SHARPNESS, np.float32(1), np.float32(2)
    before, after, far = part + one, one - part, two - part
    return (
        ((a * before - _5A) * before + _8A) * before - _4A,
        (_A2 * part - _A3) * part * part + one,
        (_A2 * after - _A3) * after * after + one,
        ((a * far - _5A) * far + _8A) * far - _4A,
    )


@register_jitable
def _to_level(value: Any) -> Any:
    return np.uint8(min(max(value + _ROUNDING, np.float32(0)), np.float32(255)))


@register_jitable
def _inside(shift: float, side: int) -> tuple[int, int]:
    """First and end of the places whose middle, moved by `shift`, is in 0..side."""
    first = min(max(math.ceil(-0.5 - shift), 0), side)
    return first, max(first, min(math.floor(side - 0.5 - shift) + 1, side))


@register_jitable
def _neighbours(place: int, side: int) -> tuple[Any, Any, Any, Any]:
    """The places at -1, 0, 1 and 2 from here, the border repeated. Unsigned: numba lets signed ones count from the end."""
    last = side - 1
    before, here = min(max(place - 1, 0), last), min(max(place, 0), last)
    after, far = min(max(place + 1, 0), last), min(max(place + 2, 0), last)
    return np.uint64(before), np.uint64(here), np.uint64(after), np.uint64(far)


@register_jitable
def _paint(row: Any, first: int, end: int, fill: Any) -> None:
    for x in range(first, end):
        for channel in range(3):
            row[3 * x + channel] = fill[channel]


@register_jitable
def _shift_row(source: Any, target: Any, shift: float, fill: Any) -> None:
    width = len(source) // 3
    pixels = source.reshape(width, 3)
    whole = math.floor(shift)
    first, end = _inside(shift, width)
    w0, w1, w2, w3 = _cubic(np.float32(shift - whole))
    left = min(max(first, 1 - whole), end)  # from here to `right` all four neighbours exist
    right = max(left, min(end, width - 2 - whole))
    _paint(target, 0, first, fill)
    _paint(target, end, width, fill)
    for x in range(first, end):
        if left <= x < right:
            continue
        p, q, r, s = _neighbours(x + whole, width)
        for i in range(3):
            near, far = w0 * np.float32(pixels[p, i]) + w1 * np.float32(pixels[q, i]), w3 * np.float32(pixels[s, i])
            target[3 * x + i] = _to_level(near + w2 * np.float32(pixels[r, i]) + far)
    count, start = 3 * (right - left), 3 * (left + whole - 1)
    if count > 0:
        a, b, c, d = source[start:], source[start + 3 :], source[start + 6 :], source[start + 9 :]
        _add_up(a, b, c, d, w0, w1, w2, w3, target[3 * left : 3 * left + count])


@register_jitable
def _shift_rows(source: Any, target: Any, shift: float, fill: Any) -> None:
    height, values = source.shape
    whole = math.floor(shift)
    first, end = _inside(shift, height)
    w0, w1, w2, w3 = _cubic(np.float32(shift - whole))
    for y in range(height):
        if first <= y < end:
            a, b, c, d = _neighbours(y + whole, height)
            _add_up(source[a], source[b], source[c], source[d], w0, w1, w2, w3, target[y])
        else:
            _paint(target[y], 0, values // 3, fill)


@register_jitable
def _add_up(a: Any, b: Any, c: Any, d: Any, w0: Any, w1: Any, w2: Any, w3: Any, target: Any) -> None:
    for i in range(len(target)):
        target[i] = _to_level(
            w0 * np.float32(a[i]) + w1 * np.float32(b[i]) + w2 * np.float32(c[i]) + w3 * np.float32(d[i])
        )


@register_jitable
def _shift_columns(source: Any, target: Any, matrix: Any, fill: Any, floats: Any, weights: Any) -> None:
    """Full pixels first, into `floats`, so that the four neighbours of all places in a row are four rows of it."""
    height, width = len(source), source.shape[1] // 3
    shift, slope = matrix[5] + 0.5 * matrix[3], matrix[3]
    _step_columns(source, shift, slope, floats)
    for x in range(width):
        four = _cubic(np.float32(shift + slope * x - math.floor(shift + slope * x)))
        for channel in range(3):
            for tap in range(4):
                weights[tap, 3 * x + channel] = four[tap]
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for y in range(height):
        a, b, c, d, row = floats[y], floats[y + 1], floats[y + 2], floats[y + 3], target[y]
        for i in range(3 * width):
            row[i] = _to_level(w0[i] * a[i] + w1[i] * b[i] + w2[i] * c[i] + w3[i] * d[i])
    for x in range(width):
        first, end = _inside(shift + slope * x, height)
        for y in range(height):
            if not first <= y < end:
                _paint(target[y], x, x + 1, fill)


@register_jitable
def _step_columns(source: Any, shift: float, slope: float, floats: Any) -> None:
    """Row y + 1 of `floats` is what is read at row y, less the fraction of a pixel; there is one row more above, and two below."""
    height, width = len(source), source.shape[1] // 3
    for y in range(height + 3):
        for x in range(width):
            top = np.uint64(min(max(y - 1 + math.floor(shift + slope * x), 0), height - 1))
            for channel in range(3):
                floats[y, 3 * x + channel] = source[top, 3 * x + channel]


@register_jitable
def _rotate(source: Any, target: Any, matrix: Any, fill: Any, floats: Any, weights: Any) -> None:
    height, width = len(source), source.shape[1] // 3
    for y in range(height):
        for i in range(3 * width):
            floats[y, i] = source[y, i]  # converted once, not once for each of sixteen neighbours
    pixels = floats.reshape(height + 3, width, 3)[:height]
    for y in range(height):
        right0 = matrix[1] * (y + 0.5) + matrix[2] + 0.5 * matrix[0] - 0.5
        down0 = matrix[4] * (y + 0.5) + matrix[5] + 0.5 * matrix[3] - 0.5
        row = target[y]
        _weigh(right0, matrix[0], width, weights)
        _weigh(down0, matrix[3], width, weights[4:])
        for x in range(width):
            right, down = right0 + matrix[0] * x, down0 + matrix[3] * x
            if -0.5 <= right <= width - 0.5 and -0.5 <= down <= height - 0.5:
                _read(pixels, math.floor(right), math.floor(down), weights, x, row)
            else:
                _paint(row, x, x + 1, fill)


@register_jitable
def _read(pixels: Any, left: int, top: int, weights: Any, x: int, row: Any) -> None:
    """The pixel x of a row: the sum over the 4 x 4 pixels from one before (left, top) on, the border repeated."""
    a, b, c, d = _neighbours(top, pixels.shape[0])
    p, q, r, s = _neighbours(left, pixels.shape[1])
    v0, v1, v2, v3 = weights[0, x], weights[1, x], weights[2, x], weights[3, x]
    w0, w1, w2, w3 = weights[4, x], weights[5, x], weights[6, x], weights[7, x]
    for i in range(3):
        row[3 * x + i] = _to_level(
            w0 * (v0 * pixels[a, p, i] + v1 * pixels[a, q, i] + v2 * pixels[a, r, i] + v3 * pixels[a, s, i])
            + w1 * (v0 * pixels[b, p, i] + v1 * pixels[b, q, i] + v2 * pixels[b, r, i] + v3 * pixels[b, s, i])
            + w2 * (v0 * pixels[c, p, i] + v1 * pixels[c, q, i] + v2 * pixels[c, r, i] + v3 * pixels[c, s, i])
            + w3 * (v0 * pixels[d, p, i] + v1 * pixels[d, q, i] + v2 * pixels[d, r, i] + v3 * pixels[d, s, i])
        )


@register_jitable
def _weigh(start: float, step: float, width: int, weights: Any) -> None:
    """The weights of each place in a row along one direction: (4, width)."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for x in range(width):
        place = start + step * x
        w0[x], w1[x], w2[x], w3[x] = _cubic(np.float32(place - math.floor(place)))
