"""Images on which an exported file is compared with its network, and those that set the ranges of int8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from tleg_cli.augment.pipeline import normalise
from tleg_cli.config import DataSection
from tleg_cli.data.open import describe, open_sample_loader
from tleg_cli.errors import DataError
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.class_names import match_classes
from tleg_cli.models.model_file import ModelCard

SIZES = (1, 7)  # of the first batches, so that each file is run with several sizes
_BATCH = 32  # of the others
_READ = 64
_WORKERS = 2


@dataclass(frozen=True)
class Sample:
    """images: uint8 (images, 3, size, size). labels: int64 (images,), outputs of the network; None for random images.

    source: where they are from, for people.
    """

    images: Tensor
    labels: Tensor | None
    input: InputSpec
    source: str

    def batches(self, sizes: tuple[int, ...] = SIZES) -> Iterator[Tensor]:
        """Normalised float32 batches of these sizes, then of 32 images; the last one may be short."""
        start = 0
        while start < len(self.images):
            size, sizes = (sizes[0], sizes[1:]) if sizes else (_BATCH, ())
            yield self.normalised(start, start + size)
            start += size

    def one_by_one(self) -> Iterator[Tensor]:
        """Normalised float32 batches of one image."""
        return (self.normalised(index, index + 1) for index in range(len(self.images)))

    def normalised(self, start: int, end: int) -> Tensor:
        """Images `start` to `end` as the network gets them: float32 (end - start, 3, size, size)."""
        return normalise(self.images[start:end], self.input.mean, self.input.std)


def random_sample(spec: InputSpec, count: int) -> Sample:
    """Random pixels, always the same."""
    shape = (count, 3, spec.image_size, spec.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Sample(images, None, spec, "random images")


def data_sample(card: ModelCard, data: str, split: str, most: int, where: str, say: Callable[[str], None]) -> Sample:
    """`most` images of a split of `data`, drawn from all of it, or all if it has fewer.

    where: the network's file, for messages. Raises OtherClasses if the data has other classes than the network.
    """
    section = DataSection(path=data, **card.input.values(), workers=_WORKERS)
    match = match_classes(card.class_names, card.classes, describe(section).classes, where)
    if match.note:
        say(match.note)
    loader = open_sample_loader(section, most=most, batch_size=_READ, split=split)
    with closing(loader), closing(loader.epoch(0)) as batches:
        read = [(images.clone(), labels.clone()) for images, labels in batches]
    if not read:
        raise DataError(f"{data} has no images in its {split} split")
    images, labels = (torch.cat(parts) for parts in zip(*read, strict=True))
    if match.order is not None:  # the data's class j is the head's output order[j]
        labels = torch.tensor(match.order)[labels]
    name = "training" if split == "train" else "validation"
    return Sample(images, labels, card.input, f"{name} images of {data}")
