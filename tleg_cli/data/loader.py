"""One interface for every loader, and the choice between them: the kind of path decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from tleg_cli.config import AugmentationSection, DataSection
from tleg_cli.data.sidecar import BETON, SPLITS, read_pair
from tleg_cli.data.sources import open_source
from tleg_cli.errors import DataError

Batch = tuple[Tensor, Tensor]  # uint8 (batch, 3, size, size), int64 (batch,); valid until the next one is asked for


class Loader(Protocol):
    """Batches of one split, for one rank. Reproducible: a batch is a function of seed, epoch and position."""

    samples: int  # images of the split, over all ranks
    batches: int  # of this rank in an epoch

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """A generator of epoch `number`'s batches from the `start`-th on; closing it ends what works for it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class DataSummary:
    """What a data path holds. kind: "ffcv" or "images"; train, val: numbers of images."""

    kind: str
    classes: tuple[str, ...]
    train: int
    val: int


@dataclass(frozen=True)
class Crop:
    """Which part of an image is taken. scale: None for the evaluation crop; the seed is that of the run."""

    size: int
    crop_pct: float
    interpolation: str
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    seed: int = 0


def describe(data: DataSection) -> DataSummary:
    """Classes and sizes of `data.path`, without reading an image. Raises DataError for what is no data."""
    path = _path(data)
    if is_beton_folder(path):
        train, val = read_pair(Path(path))
        return DataSummary("ffcv", train.classes, train.samples, val.samples)
    source = open_source(path)
    return DataSummary("images", source.classes, len(source.train), len(source.val))


def open_train_loader(
    data: DataSection, augmentation: AugmentationSection, *, batch_size: int, seed: int, rank: int, world: int
) -> Loader:
    """The training split, whole batches only. Raises DataError for fewer images than one global batch."""
    crop = Crop(
        data.image_size,
        data.crop_pct,
        data.interpolation,
        augmentation.crop_scale,
        augmentation.crop_ratio,
        augmentation.flip,
        seed,
    )
    return _open(data, "train", crop, batch_size, rank, world, repeats=augmentation.repeats)


def open_eval_loader(data: DataSection, *, batch_size: int, rank: int, world: int, split: str = "val") -> Loader:
    """A split with the evaluation crop; over all ranks every image once, the last batch may be short."""
    crop = Crop(data.image_size, data.crop_pct, data.interpolation)
    return _open(data, split, crop, batch_size, rank, world, repeats=None)


def _open(data: DataSection, split: str, crop: Crop, batch_size: int, rank: int, world: int, repeats: int | None) -> Loader:
    from tleg_cli.data.ffcv_loader import FFCVLoader
    from tleg_cli.data.image_loader import ImageLoader

    path = _path(data)
    ranks: dict[str, Any] = {"batch_size": batch_size, "rank": rank, "world": world, "repeats": repeats}
    if is_beton_folder(path):
        train, val = read_pair(Path(path))
        sidecar = train if split == "train" else val
        return FFCVLoader(Path(path) / f"{split}{BETON}", sidecar.samples, crop, workers=data.workers, **ranks)
    source = open_source(path)
    images = source.train if split == "train" else source.val
    return ImageLoader(images, crop, workers=data.workers, **ranks)


def _path(data: DataSection) -> str:
    if data.path is None:
        raise DataError("no data: give --data PATH, what `tleg prepare` wrote or a folder with train/ and val/")
    return data.path


def is_beton_folder(path: str) -> bool:
    """Whether `path` holds a split that `tleg prepare` wrote."""
    return any((Path(path) / f"{split}{BETON}").exists() for split in SPLITS)
