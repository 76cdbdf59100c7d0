"""What compiled.py calls: compiled functions of one image or a part of a batch, shared among threads there. Needs numba."""

from __future__ import annotations

import numpy as np

from tleg_cli.augment.cpu.colour import recolour
from tleg_cli.augment.cpu.compile_once import kept
from tleg_cli.augment.cpu.geometry import ROTATE, warp

__all__ = ["OPERATIONS", "ROTATE", "blend_pairs", "normalise", "recolour", "swap_boxes", "warp"]

OPERATIONS = (
    *("AutoContrast", "Equalize", "Invert", "Posterize", "Solarize", "SolarizeAdd", "Brightness", "Contrast", "Color"),
    *("Sharpness", "Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)  # by the numbers that colour.py and geometry.py give them: geometry from ROTATE on


@kept
def normalise(images, table, start, stop, out):  # type: ignore[no-untyped-def]
    """images: (batch, pixels, 3) uint8; table: (3, 256) float32, the value of each level; out: as images, float32."""
    red, green, blue = table[0], table[1], table[2]
    for sample in range(start, stop):
        source, target = images[sample], out[sample]
        for place in range(len(source)):
            target[place, 0] = red[source[place, 0]]
            target[place, 1] = green[source[place, 1]]
            target[place, 2] = blue[source[place, 2]]


@kept
def blend_pairs(batch, share, start, stop):  # type: ignore[no-untyped-def]
    """In place: of each of the rows, `share` stays and the rest comes from the mirrored row. batch: (batch, values) float32."""
    for sample in range(start, stop):
        first, second = batch[sample], batch[len(batch) - 1 - sample]
        for i in range(len(first)):
            difference = first[i] - second[i]
            if share < np.float32(0.5):  # as torch.lerp: exact at both ends
                first[i], second[i] = second[i] + share * difference, first[i] - share * difference
            else:
                rest = np.float32(1) - share
                first[i], second[i] = first[i] - rest * difference, second[i] + rest * difference


@kept
def swap_boxes(images, top, bottom, left, right, start, stop):  # type: ignore[no-untyped-def]
    """In place: a box changes places with that of the mirrored image. images: (batch, height, 3 * width) float32."""
    for sample in range(start, stop):
        first, second = images[sample], images[len(images) - 1 - sample]
        for y in range(top, bottom):
            here, there = first[y, 3 * left : 3 * right], second[y, 3 * left : 3 * right]
            for i in range(len(here)):
                here[i], there[i] = there[i], here[i]
