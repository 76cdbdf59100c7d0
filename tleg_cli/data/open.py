"""One interface for every loader, and the choice between them: the kind of path decides."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tleg_cli.config import AugmentationSection, DataSection
from tleg_cli.data.batches import Loader, Order
from tleg_cli.data.crops import CropRule
from tleg_cli.data.ffcv.sidecar import BETON, SPLITS, read_pair
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source


@dataclass(frozen=True)
class DataSummary:
    """What a data path holds. kind: "ffcv" or "images"."""

    kind: str
    classes: tuple[str, ...]


def describe(data: DataSection) -> DataSummary:
    """The classes of `data.path`, without reading an image. Raises DataError if it isn't a data set."""
    path = _path(data)
    if is_beton_folder(path) and data.unlabelled is None:
        return DataSummary("ffcv", read_pair(Path(path))[0].classes)
    return DataSummary("images", _source(data, path).classes)


def open_train_loader(
    data: DataSection, augmentation: AugmentationSection, *, batch_size: int, seed: int, rank: int, world: int
) -> Loader:
    """The training split, complete global batches only. Raises DataError for fewer images than one."""
    rule = CropRule(seed, augmentation.crop_scale, augmentation.crop_ratio, augmentation.flip)
    return _open(data, "train", rule, _order(batch_size, rank, world, seed, augmentation.repeats))


def open_eval_loader(data: DataSection, *, batch_size: int, rank: int, world: int, split: str = "val") -> Loader:
    """A split with the evaluation crop; over all ranks every image once, the last batch may be short."""
    rule = CropRule(0, None, (1.0, 1.0), 0.0)
    return _open(data, split, rule, _order(batch_size, rank, world, 0, None))


def open_sample_loader(data: DataSection, *, most: int, batch_size: int, split: str) -> Loader:
    """`most` images of a split with the evaluation crop, drawn from all of it and always the same; all if it has fewer."""
    rule = CropRule(0, None, (1.0, 1.0), 0.0)
    return _open(data, split, rule, lambda samples: Order(samples, batch_size, 0, 1, 0, None, most))


def _order(batch_size: int, rank: int, world: int, seed: int, repeats: int | None) -> Callable[[int], Order]:
    return lambda samples: Order(samples, batch_size, rank, world, seed, repeats)


def _open(data: DataSection, split: str, rule: CropRule, order_of: Callable[[int], Order]) -> Loader:
    path = _path(data)
    if is_beton_folder(path):
        from tleg_cli.data.ffcv.loader import open_beton

        sidecar = dict(zip(SPLITS, read_pair(Path(path)), strict=True))[split]
        if sidecar.exif_orientation and not data.exif_orientation:
            raise DataError(
                f"{path} was written with photographs turned upright, which data.exif_orientation=false can't undo; "
                "write it with `tleg prepare --no-exif-orientation`, or leave that setting out"
            )
        order = order_of(sidecar.samples)
        return open_beton(Path(path) / f"{split}{BETON}", sidecar, rule, order, data)
    from tleg_cli.data.folder_loader import FolderLoader, Views
    from tleg_cli.data.synthetic import SyntheticLoader, SyntheticSplit

    source = _source(data, path)
    images = source.split(split)
    if isinstance(images, SyntheticSplit):
        return SyntheticLoader(images, order_of(len(images)), data.image_size)
    views = Views(images, rule, data.image_size, data.crop_pct, data.interpolation)
    return FolderLoader(views, order_of(len(images)), 0 if source.in_memory else data.workers)


def _source(data: DataSection, path: str) -> Source:
    if data.unlabelled is None:
        return open_source(path, exif_orientation=data.exif_orientation)
    from tleg_cli.data.unlabelled import unlabelled_source

    return unlabelled_source(Path(path), data.unlabelled, exif_orientation=data.exif_orientation)


def _path(data: DataSection) -> str:
    if data.path is None:
        raise DataError(
            "no data: give --data PATH, either the output of `tleg prepare` or a folder with train/ and val/"
        )
    return data.path


def is_beton_folder(path: str) -> bool:
    """Whether `path` holds a split that `tleg prepare` wrote."""
    return any(os.path.exists(os.path.join(path, f"{split}{BETON}")) for split in SPLITS)
