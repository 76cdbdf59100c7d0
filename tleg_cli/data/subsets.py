"""Parts of another source: `holdout/K/NAME` scores on K of its training images, `first/N:M/NAME` takes a few of every class."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tleg_cli.data.source import name_of
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source, Split

if TYPE_CHECKING:
    from PIL.Image import Image

SUBSETS = ("holdout", "first")
_SEED = 0  # of the permutation: the same images are held out everywhere


@dataclass(frozen=True)
class PartOfSplit:
    """Some images of a split. chosen: (images,) their numbers there. labels: (images,) theirs, if the split lists them."""

    split: Split
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        return self.split[int(self.chosen[index])]

    def where(self, index: int) -> str:
        """What a message calls image `index`."""
        return name_of(self.split, int(self.chosen[index]))

    @property
    def paths(self) -> NDArray[np.int64]:
        """What makes this part another one than the rest, for the record of a run."""
        return self.chosen

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(images,) or None if the split doesn't list its labels."""
        every = _listed_labels(self.split)
        return None if every is None else every[self.chosen]


def subset_source(path: str, scheme: str, rest: str, open_source: Callable[[str], Source]) -> Source:
    """`holdout/200/digits`: 200 training images, drawn by a fixed seed, are scored and the others trained on; the test images of
    the source are not used. `first/500:100/NAME`: the first 500 training and 100 test images of every class.

    Raises DataError for anything else, and for more images than there are.
    """
    numbers, slash, name = rest.partition("/")
    if scheme == "holdout":
        if not slash or not name or not re.fullmatch(r"[1-9][0-9]{0,8}", numbers):
            raise DataError(f"{path}: write holdout/K/SOURCE, as in holdout/200/digits")
        source = open_source(name)
        return replace(
            source,
            name=path,
            train=partial(_held_out, source, int(numbers), path, False),
            val=partial(_held_out, source, int(numbers), path, True),
        )
    found = re.fullmatch(r"([1-9][0-9]{0,8}):([1-9][0-9]{0,8})", numbers)
    if not slash or not name or not found:
        raise DataError(f"{path}: write first/N:M/SOURCE, as in first/500:100/digits")
    source = open_source(name)
    classes = source.classes
    return replace(
        source,
        name=path,
        train=partial(_first_of_each, source.train, int(found[1]), classes, f"{path}: train"),
        val=partial(_first_of_each, source.val, int(found[2]), classes, f"{path}: val"),
    )


def _held_out(source: Source, images: int, path: str, scored: bool) -> Split:
    split = source.train()
    if images >= len(split):
        raise DataError(f"{path}: the source has {len(split)} training images; hold out fewer than that")
    order = np.random.default_rng(_SEED).permutation(len(split))
    return PartOfSplit(split, np.sort(order[:images] if scored else order[images:]))


def _first_of_each(open_split: Callable[[], Split], images: int, classes: tuple[str, ...], where: str) -> Split:
    split = open_split()
    labels = _listed_labels(split)
    if labels is None:
        labels = np.array([split[index][1] for index in range(len(split))], dtype=np.int64)
    chosen = [np.flatnonzero(labels == number)[:images] for number in range(len(classes))]
    for name, found in zip(classes, chosen, strict=True):
        if len(found) < images:
            raise DataError(f"{where} has {len(found)} images of class {name!r}, fewer than {images}")
    return PartOfSplit(split, np.sort(np.concatenate(chosen)))


def _listed_labels(split: Split) -> NDArray[np.int64] | None:
    """Without reading an image; None if only reading can tell."""
    for part in (getattr(split, "listing", None), split):
        labels = getattr(part, "labels", None)
        if isinstance(labels, np.ndarray):
            return labels.astype(np.int64)
    return None
