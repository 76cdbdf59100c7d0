"""Data sets that timm reads: its named ones (torch/..., hfds/...), and train.tar beside val.tar."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from tleg_cli.data.source import read_rgb
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source, Split

if TYPE_CHECKING:
    from PIL.Image import Image

_NO_NETWORK = (URLError, ConnectionError, TimeoutError)


def timm_source(path: str) -> Source:
    """`scheme/name:folder`, as in torch/cifar100:/data/cifar. May download. Raises DataError."""
    name, _, root = path.partition(":")
    train, val = (partial(_timm_split, name, root or None, split) for split in ("train", "validation"))
    return Source(path, _timm_classes(train()), train, val)


def _timm_split(name: str, root: str | None, split: str) -> Split:
    from timm.data import create_dataset

    torchvision = name.startswith("torch/")
    if torchvision and root is None:
        raise DataError(f"{name} needs the folder of its files: write {name}:FOLDER; what isn't there is downloaded")
    if not torchvision:
        _need_datasets(name)
    try:
        with redirect_stdout(sys.stderr):  # where progress goes: results alone go to stdout
            return TimmSplit(create_dataset(name, root, split=split, download=torchvision), f"{name} {split}")
    except (Exception, SystemExit) as error:  # torchvision and Hugging Face raise whatever went wrong
        reason = " ".join(str(error).split()) or type(error).__name__
        unreachable = isinstance(error, _NO_NETWORK) or reason.startswith("Error downloading")  # the latter by MNIST
        advice = _by_hand(name, str(root)) if torchvision and unreachable else ""
        raise DataError(f"can't open {name} ({split}): {reason[:300]}{advice}") from error


def _need_datasets(name: str) -> None:
    """timm would say on stdout that it needs the package, and raise no more than its name."""
    try:
        _ = import_module("datasets").load_dataset  # a folder of that name would import as well
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"{name} is read by Hugging Face's package datasets, which isn't there ({error}): pip install datasets"
        ) from error


def _by_hand(name: str, root: str) -> str:
    """Where torchvision would find the archive that it could not fetch; empty where its class doesn't say so."""
    from torchvision import datasets

    wanted = name.partition("/")[2].replace("_", "").lower()
    kind: Any = next((getattr(datasets, known) for known in datasets.__all__ if known.lower() == wanted), None)
    if all(isinstance(getattr(kind, fact, None), str) for fact in ("url", "filename")):
        unpacked = f", or unpacked at {Path(root) / kind.base_folder}" if getattr(kind, "base_folder", "") else ""
        return f"; fetch {kind.url} elsewhere and put it at {Path(root) / kind.filename}{unpacked}"
    if isinstance(getattr(kind, "resources", None), list) and getattr(kind, "mirrors", None):
        files = ", ".join(file for file, _ in kind.resources)
        return (
            f"; fetch {files} from {kind.mirrors[0]} elsewhere and put them into {Path(root) / kind.__name__ / 'raw'}"
        )
    return ""


@dataclass(frozen=True)
class TimmSplit:
    """A data set of timm.data.create_dataset. Read through its reader: timm's own would put a neighbour in a bad image's place."""

    dataset: Any
    name: str

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        reader = getattr(self.dataset, "reader", None)
        if reader is None:
            image, label = self.dataset[index]
            return image.convert("RGB"), int(label)
        file, label = reader[index][:2]
        return read_rgb(file, f"{self.name}: {reader.filename(index, absolute=True)}"), int(label)


def _timm_classes(split: Split) -> tuple[str, ...]:
    """Class names in the order of their labels, as far as the data set tells them."""
    assert isinstance(split, TimmSplit)
    reader = getattr(split.dataset, "reader", None)
    by_label = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if by_label:
        return tuple(str(name) for name, _ in sorted(by_label.items(), key=lambda item: item[1]))
    names: Sequence[Any] | None = getattr(split.dataset, "classes", None)
    if names is None:
        raise DataError(f"{split.name} doesn't say its classes; write it to train/CLASS and val/CLASS folders instead")
    return tuple(map(str, names))


def tar_source(root: Path) -> Source | None:
    """train.tar and val.tar with class folders inside, None if they aren't there. Raises DataError."""
    train = root / "train.tar"
    val = next(
        (root / f"{name}.tar" for name in ("val", "validation", "valid", "test") if (root / f"{name}.tar").is_file()),
        None,
    )
    if not train.is_file() or val is None:
        return None
    classes = _timm_classes(_tar_split(train))
    if classes != _timm_classes(_tar_split(val)):
        raise DataError(f"the classes of {train} and {val} differ; both need the same folders")
    return Source(str(root), classes, partial(_tar_split, train), partial(_tar_split, val))


def _tar_split(file: Path) -> Split:
    from timm.data import create_dataset

    try:
        return TimmSplit(create_dataset("", str(file)), str(file))
    except Exception as error:  # tarfile raises many kinds
        raise DataError(f"can't read {file}: {' '.join(str(error).split())[:300]}") from error
