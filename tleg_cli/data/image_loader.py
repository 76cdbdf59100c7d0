"""Images through PIL and torch's DataLoader: for folders and sources, on machines without FFCV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from tleg_cli.data.crops import flipped, random_crop
from tleg_cli.data.loader import Batch, Crop
from tleg_cli.data.order import SAMPLE_BITS, SAMPLE_MASK, Codes, epoch_order, eval_order, train_batches
from tleg_cli.data.sources import Split
from tleg_cli.errors import DataError

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class ImageLoader:
    """See Loader. repeats: None for evaluation."""

    def __init__(self, images: Split, crop: Crop, *, batch_size: int, rank: int, world: int, repeats: int | None, workers: int):
        self.samples = len(images)
        self._place = {"batch_size": batch_size, "rank": rank, "world": world}
        self._crop, self._repeats = crop, repeats
        self._orders = _Orders()
        self._loader: DataLoader[Any] = DataLoader(
            _Cropped(images, crop),  # type: ignore[arg-type]
            batch_sampler=self._orders,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
        )
        if repeats is None:
            self.batches = len(eval_order(self.samples, **self._place))
        else:
            self.batches = train_batches(self.samples, batch_size, world)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """See Loader."""
        self._orders.batches = self._order(number)[start:]
        for item in self._loader:
            if isinstance(item, str):
                raise DataError(item)
            yield item

    def _order(self, number: int) -> Sequence[Codes]:
        if self._repeats is None:
            return eval_order(self.samples, **self._place)
        order = epoch_order(self.samples, seed=self._crop.seed, epoch=number, repeats=self._repeats, **self._place)
        return list(order)

    def close(self) -> None:
        """Ends the workers."""
        workers = self._loader._iterator
        if workers is not None and hasattr(workers, "_shutdown_workers"):
            workers._shutdown_workers()
        self._loader._iterator = None


class _Orders:
    """What the DataLoader asks for batches of codes; set before each epoch."""

    batches: Sequence[Codes] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch.tolist() for batch in self.batches])

    def __len__(self) -> int:
        return len(self.batches)


@dataclass(frozen=True)
class _Cropped:
    """code -> (uint8 (3, size, size), label), or the text of the error: a worker can hand over no exception in one line."""

    images: Split
    crop: Crop

    def __getitem__(self, code: int) -> tuple[np.ndarray, int] | str:
        try:
            image, label = self.images[code & SAMPLE_MASK]
        except DataError as error:
            return str(error)
        pixels = np.asarray(crop_image(image, self.crop, code >> SAMPLE_BITS))
        return pixels.transpose(2, 0, 1), label

    def __len__(self) -> int:
        return len(self.images)


def crop_image(image: Image.Image, crop: Crop, draw: int) -> Image.Image:
    """The (size, size) image that training (crop.scale given) or evaluation takes. The box is a function of (seed, draw)."""
    filter_ = _FILTERS[crop.interpolation]
    size = (crop.size, crop.size)
    if crop.scale is None:
        taken = _evaluation_crop(image, crop, filter_)
    else:
        logs = math.log(crop.ratio[0]), math.log(crop.ratio[1])
        top, left, height, width = random_crop(image.height, image.width, crop.seed, draw, *crop.scale, *logs)
        taken = image.crop((left, top, left + width, top + height))
        taken = taken if taken.size == size else taken.resize(size, filter_)
    if crop.flip and flipped(crop.seed, draw, crop.flip):
        taken = taken.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return taken


def _evaluation_crop(image: Image.Image, crop: Crop, filter_: Image.Resampling) -> Image.Image:
    """timm's: the shorter side becomes size / crop_pct, then the centre is cut out."""
    shorter = math.floor(crop.size / crop.crop_pct)
    width, height = image.size
    if min(width, height) != shorter:
        scale = shorter / min(width, height)
        width, height = (shorter if side == min(width, height) else int(side * scale) for side in (width, height))
        image = image.resize((width, height), filter_)
    left, top = round((width - crop.size) / 2), round((height - crop.size) / 2)
    return image.crop((left, top, left + crop.size, top + crop.size))


def _collate(items: list[Any]) -> tuple[Tensor, Tensor] | str:
    for item in items:
        if isinstance(item, str):
            return item
    pixels, labels = zip(*items, strict=True)
    return torch.from_numpy(np.stack(pixels)), torch.tensor(labels, dtype=torch.int64)
