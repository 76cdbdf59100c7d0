"""Data sets that timm opens by name: torchvision's (torch/...) and Hugging Face's (hfds/...). Their labels keep the order they come in."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from tleg_cli.data.read_image import as_rgb, name_damage, read_rgb
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source, Split

if TYPE_CHECKING:
    from PIL.Image import Image

_NO_NETWORK = (URLError, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class SourceSize:
    """How much a named data set holds, known without fetching it."""

    classes: int
    train: int
    val: int


_SIZES = {
    "torch/cifar10": SourceSize(10, 50_000, 10_000),
    "torch/cifar100": SourceSize(100, 50_000, 10_000),
    "torch/mnist": SourceSize(10, 60_000, 10_000),
    "torch/fashion_mnist": SourceSize(10, 60_000, 10_000),
    "torch/kmnist": SourceSize(10, 60_000, 10_000),
    "torch/qmnist": SourceSize(10, 60_000, 60_000),
    "torch/imagenet": SourceSize(1000, 1_281_167, 50_000),
    "torch/places365": SourceSize(365, 1_803_460, 36_500),
}


def known_size(path: str) -> SourceSize | None:
    """The size of a data set that timm opens by name, None if only opening it can tell. Nothing is read or fetched."""
    return _SIZES.get(path.partition(":")[0].lower())


def timm_source(path: str, *, exif_orientation: bool) -> Source:
    """`scheme/name:folder`, as in torch/cifar100:/data/cifar. May download. Raises DataError."""
    name, _, root = path.partition(":")
    train = partial(_open_split, name, root or None, "train", exif_orientation)
    classes = _class_names(train())
    return Source(path, classes, train, partial(_open_val, name, root or None, exif_orientation, classes))


def _open_val(name: str, root: str | None, exif_orientation: bool, classes: tuple[str, ...]) -> Split:
    """torch/image_folder numbers the classes of each split by itself, so that they must be compared."""
    split = _open_split(name, root, "validation", exif_orientation)
    found = _class_names(split)
    if found != classes:
        ours, theirs = next(
            ((a, b) for a, b in zip(classes, found, strict=False) if a != b), (len(classes), len(found))
        )
        raise DataError(
            f"{name}: the classes of train and validation differ ({ours!r} and {theirs!r}); make them equal"
        )
    return split


def _open_split(name: str, root: str | None, split: str, exif_orientation: bool) -> TimmSplit:
    from timm.data import create_dataset

    torchvision = name.startswith("torch/")
    if torchvision and root is None:
        raise DataError(f"{name} needs the folder of its files: write {name}:FOLDER; missing files are downloaded")
    if not torchvision:
        _need_datasets(name)
    try:
        with redirect_stdout(sys.stderr):  # where progress goes: results alone go to stdout
            dataset: Any = create_dataset(name, root, split=split, download=torchvision)
    except (Exception, SystemExit) as error:  # torchvision and Hugging Face raise exceptions of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        unreachable = isinstance(error, _NO_NETWORK) or reason.startswith("Error downloading")  # the latter by MNIST
        advice = _where_to_put_it(name, Path(root), unreachable) if root is not None else ""
        raise DataError(f"can't open {name} ({split}): {reason[:300]}{advice}") from error
    if hasattr(dataset, "loader"):  # of torchvision's folders, which would clip 16-bit images
        dataset.loader = partial(_load_file, exif_orientation)
    return TimmSplit(dataset, f"{name} {split}", exif_orientation)


def _load_file(exif_orientation: bool, path: str) -> Image:
    return read_rgb(path, path, exif_orientation=exif_orientation)


def _need_datasets(name: str) -> None:
    """timm would print to stdout that it needs the package, and raise no more than its name."""
    try:
        _ = import_module("datasets").load_dataset  # a folder of that name would import as well
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"{name} is read by Hugging Face's package datasets, which is not installed ({error}): pip install datasets"
        ) from error


def _where_to_put_it(name: str, root: Path, unreachable: bool) -> str:
    """Where torchvision would find the files that it could not fetch; empty if its class doesn't say so."""
    from torchvision import datasets

    wanted = name.partition("/")[2].replace("_", "").lower()
    kind: Any = next((getattr(datasets, known) for known in datasets.__all__ if known.lower() == wanted), None)
    if isinstance(getattr(kind, "resources", None), list) and getattr(kind, "mirrors", None):
        return _like_mnist(kind, root, unreachable)
    if unreachable and all(isinstance(getattr(kind, fact, None), str) for fact in ("url", "filename")):
        unpacked = f", or unpacked at {root / kind.base_folder}" if getattr(kind, "base_folder", "") else ""
        return f"; fetch {kind.url} elsewhere and put it at {root / kind.filename}{unpacked}"
    return ""


def _like_mnist(kind: Any, root: Path, unreachable: bool) -> str:
    """torchvision refuses archives with another checksum (Debian's, for one), but takes unpacked files as they are."""
    names = [file for file, _ in kind.resources]
    raw = root / kind.__name__ / "raw"
    for folder in (raw, root):
        with contextlib.suppress(OSError):
            if all((folder / name).is_file() for name in names):
                return (
                    f"; {folder} has files of these names, but torchvision takes packed ones only in {raw} and with its own checksums; "
                    f"if you trust them, unpack all {len(names)} into {raw} with gunzip"
                )
    if not unreachable:
        return ""
    return f"; fetch {', '.join(names)} from {kind.mirrors[0]} elsewhere and put them into {raw}"


@dataclass(frozen=True)
class TimmSplit:
    """A data set of timm.data.create_dataset. Read through its reader: timm's own would put a neighbour in a bad image's place."""

    dataset: Any
    name: str
    exif_orientation: bool = True

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        reader = getattr(self.dataset, "reader", None)
        where = self.where(index)
        if reader is not None:
            with name_damage(where):
                file, label = reader[index][:2]
            return read_rgb(file, where, exif_orientation=self.exif_orientation), int(label)
        with name_damage(where):
            image, label = self.dataset[index]
            return as_rgb(image, where, exif_orientation=self.exif_orientation), int(label)

    def where(self, index: int) -> str:
        """The data set and its name of image `index`, for messages."""
        reader = getattr(self.dataset, "reader", None)
        if reader is None:
            return f"{self.name}: image {index}"
        return f"{self.name}: {reader.filename(index, absolute=True)}"


def _class_names(split: TimmSplit) -> tuple[str, ...]:
    """Class names in the order of their labels. Raises DataError if the data set has none."""
    reader = getattr(split.dataset, "reader", None)
    by_label = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if by_label:
        return tuple(str(name) for name, _ in sorted(by_label.items(), key=lambda item: item[1]))
    # torchvision's ImageNet has lists of synonyms as classes; its wnids are the names of ImageNet's folders
    names: Sequence[Any] | None = getattr(split.dataset, "wnids", None) or getattr(split.dataset, "classes", None)
    if names is None:
        raise DataError(f"{split.name} doesn't name its classes; write it to train/CLASS and val/CLASS folders instead")
    return tuple(map(str, names))
