"""What `tleg init` measures on a folder of images: how many, how large, which classes, and their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tleg_cli.data.ffcv.sidecar import BETON
from tleg_cli.data.open import is_beton_folder
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError

SAMPLE = 1000  # images that are read
_PIXELS = 64  # of the shorter side, before pixels are summed: a large photograph counts as much as a small one


@dataclass(frozen=True)
class Survey:
    """train, val: how many images. shorter, longer: median sides in pixels. mean, std: of pixels in 0..1. read: images that were read.

    unreadable: of those that could not be, which, and why. grey: no image that was read has a colour.
    """

    data: str
    classes: tuple[str, ...]
    train: int
    val: int
    shorter: int
    longer: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: int
    unreadable: tuple[str, ...] = ()
    grey: bool = False


def survey(data: str, sample: int = SAMPLE) -> Survey:
    """Reads up to `sample` training images, spread evenly over the split. Raises DataError for what isn't a data set of images."""
    if is_beton_folder(data):
        raise DataError(
            f"{data} holds {BETON} files; give the folder of images that they were written from, then train with --data {data}"
        )
    source = open_source(data)
    train, val = source.train(), source.val()
    if not len(train) or not len(val):
        raise DataError(f"{data} has {len(train)} training and {len(val)} validation images; both splits need some")
    chosen = np.unique(np.linspace(0, len(train) - 1, min(sample, len(train))).astype(int))
    sides, sums, squares, pixels = [], np.zeros(3), np.zeros(3), 0
    unreadable: list[str] = []
    grey = True
    for index in chosen:
        try:
            image = train[int(index)][0].convert("RGB")
        except DataError as error:
            unreadable.append(str(error))
            continue
        sides.append(sorted(image.size))
        factor = _PIXELS / min(image.size)
        if factor < 1:
            image = image.resize([max(1, round(side * factor)) for side in image.size])
        values = np.asarray(image, dtype=np.float64).reshape(-1, 3) / 255
        grey = grey and bool((values == values[:, :1]).all())
        weight = 1 / len(values)  # each image counts once
        sums += values.sum(axis=0) * weight
        squares += (values**2).sum(axis=0) * weight
        pixels += 1
    if not pixels:
        raise DataError(unreadable[0])
    mean = sums / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    shorter, longer = (int(side) for side in np.median(np.array(sides), axis=0))
    sizes = len(train), len(val), shorter, longer
    return Survey(data, source.classes, *sizes, _rounded(mean), _rounded(std, 0.001), pixels, tuple(unreadable), grey)


def _rounded(values: Sequence[float] | np.ndarray, least: float = 0.0) -> tuple[float, ...]:
    """Three digits. least: images of one colour have a deviation of 0, which nothing can be divided by."""
    return tuple(max(least, round(float(value), 3)) for value in values)
