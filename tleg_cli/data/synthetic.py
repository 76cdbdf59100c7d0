"""`synthetic`: generated images for benchmarks and for machines without data. They can be learnt.

Each mixes a pattern of its class with one of its own, 8x8 colours made large. The loader makes complete batches on the device.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from tleg_cli.data.batches import INDEX_MASK
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from tleg_cli.data.batches import Batch, Order

_DEFAULT = "10000x256"  # images x pixels; a tenth as many for validation
_CLASSES = 1000
_GRID = 8
_OWN = 1021  # patterns that images share: more than there are classes, and prime, so that pairs don't repeat soon


def synthetic_source(name: str, rest: str) -> Source:
    """`synthetic`, `synthetic/IMAGESxPIXELS` or `synthetic/IMAGESxPIXELSxCLASSES`. Raises DataError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,7})x([1-9]\d{0,3})(?:x([1-9]\d{0,4}))?", rest or _DEFAULT)
    if found is None:
        raise DataError(
            f"{name}: write synthetic/IMAGESxPIXELS or synthetic/IMAGESxPIXELSxCLASSES, as in synthetic/1000x224x10"
        )
    images, pixels, classes = int(found[1]), int(found[2]), int(found[3] or _CLASSES)
    train = partial(SyntheticSplit, images, pixels, classes, 0)
    val = partial(SyntheticSplit, max(1, images // 10), pixels, classes, images)
    return Source(name, tuple(map(str, range(classes))), train, val)


@dataclass(frozen=True)
class SyntheticSplit:
    """Images `first` to `first + images` of an endless sequence; image i is of class i % classes."""

    images: int
    pixels: int
    classes: int
    first: int

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[Image, int]:
        from PIL import Image

        number = torch.tensor([self.first + index])
        pixels = draw(number, self.classes, self.pixels)[0].permute(1, 2, 0)
        return Image.fromarray(np.ascontiguousarray(pixels.numpy())), int(number) % self.classes


def draw(numbers: Tensor, classes: int, pixels: int) -> Tensor:
    """uint8 (batch, 3, pixels, pixels), on the device of `numbers` (batch,) int64. A function of its arguments."""
    class_pattern, own = _patterns(classes, numbers.device)
    grid = (class_pattern[numbers % classes] + own[numbers % _OWN]) / 2
    large = F.interpolate(grid, size=(pixels, pixels), mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8)


def _patterns(classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(classes, 3, 8, 8) and (_OWN, 3, 8, 8) in 0..255, float32; made once for each number of classes and device."""
    key = classes, device
    if key not in _made:
        generator = torch.Generator().manual_seed(classes)
        shapes = ((count, 3, _GRID, _GRID) for count in (classes, _OWN))
        _made[key] = tuple((255 * torch.rand(*shape, generator=generator)).to(device) for shape in shapes)  # type: ignore[assignment]
    return _made[key]


_made: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}


@dataclass
class SyntheticLoader:
    """Batches made on the device that this process has chosen, at their final size. See `tleg_cli.data.batches.Loader`."""

    split: SyntheticSplit
    order: Order
    image_size: int

    def __post_init__(self) -> None:
        self.samples = len(self.split)
        self.batches = self.order.batches()
        self.device = torch.device("cuda" if torch.cuda.is_initialized() else "cpu")

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number` from batch `start` on. Nothing is cropped."""
        for codes in list(self.order(number))[start:]:
            numbers = (torch.from_numpy(codes) & INDEX_MASK).to(self.device) + self.split.first
            yield draw(numbers, self.split.classes, self.image_size), numbers % self.split.classes

    def close(self) -> None:
        """There is nothing to close."""
