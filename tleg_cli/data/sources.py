"""Where images come from, before any loader: a Source has two splits of (RGB image, label), whatever lies behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tleg_cli.data.folders import Listing, class_folders, list_split, split_folders
from tleg_cli.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image

TIMM_SCHEMES = ("torch", "hfds")
_DIGITS_TRAIN = 1297  # of 1797


class Split(Protocol):
    """A map-style split. `split[i]` is an RGB image and its label; it raises DataError, naming what can't be read."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image, int]: ...


@dataclass(frozen=True)
class Source:
    """A named data set. `train` and `val` open a split: that may take a while, so it is done where it is needed.

    in_memory: reading an image costs nothing, so that worker processes would only slow it down.
    """

    name: str
    classes: tuple[str, ...]
    train: Callable[[], Split]
    val: Callable[[], Split]
    in_memory: bool = False

    def split(self, name: str) -> Split:
        """The split called `train` or `val`."""
        return self.train() if name == "train" else self.val()


def name_of(split: Split, index: int) -> str:
    """What an error calls image `index`: its file where there is one."""
    listing = getattr(split, "listing", None)
    return str(listing.path(index)) if isinstance(listing, Listing) else f"image {index}"


def open_source(path: str) -> Source:
    """The source that `path` names: a folder, `digits`, `synthetic`, a plugin's or timm's `scheme/rest`.

    Something on the disk comes before a name. timm's take their folder after a colon: `torch/cifar100:/data/cifar`. Raises DataError.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return _on_disk(place)
    if place.exists():
        raise DataError(f"{path} is a file; give the folder that has train and val")
    scheme, slash, rest = path.partition("/")
    if path == "digits":
        return _digits()
    if scheme == "synthetic":
        from tleg_cli.data.synthetic import synthetic_source

        return synthetic_source(path, rest)
    if slash and scheme in TIMM_SCHEMES:
        from tleg_cli.data.timm_sources import timm_source

        return timm_source(path)
    plugins = _plugin_sources()
    if slash and scheme in plugins:
        return _from_plugin(scheme, plugins[scheme], rest)
    known = ["digits", "synthetic", *(f"{name}/..." for name in (*TIMM_SCHEMES, *plugins))]
    advice = did_you_mean(path, known) or " Give another --data, or write it with `tleg prepare`."
    raise DataError(f"no folder {path}, and no source of that name.{advice}")


def _on_disk(root: Path) -> Source:
    from tleg_cli.data.layouts import known_layout
    from tleg_cli.data.timm_sources import tar_source

    return tar_source(root) or known_layout(root) or _folder(root)


def _plugin_sources() -> dict[str, Callable[[str], Source]]:
    from tleg_cli import plugin_manager

    return plugin_manager.sources()


def _from_plugin(scheme: str, opener: Callable[[str], Source], rest: str) -> Source:
    source = opener(rest)
    if not isinstance(source, Source):
        raise DataError(f"the plugin source {scheme!r} returned {source!r}, which is no tleg_cli.data.sources.Source")
    return source


def _folder(root: Path) -> Source:
    classes = class_folders(root)
    train, val = (partial(_open_files, folder, classes) for folder in split_folders(root))
    return Source(str(root), classes, train, val)


def _open_files(folder: Path, classes: tuple[str, ...]) -> Split:
    return FileSplit(list_split(folder, classes))


@dataclass(frozen=True)
class FileSplit:
    """Image files. Grey, CMYK, palette and transparent images become RGB as PIL converts them; EXIF rotation is left alone, as in timm."""

    listing: Listing

    def __len__(self) -> int:
        return len(self.listing.files)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        path = self.listing.path(index)
        return read_rgb(path, str(path)), int(self.listing.labels[index])


def read_rgb(file: Any, name: str) -> Image:
    """The image in a file as RGB, decoded to its end. Raises DataError that names it: PIL raises anything on damaged files."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except Exception as error:
        reason = "is no image" if type(error).__name__ == "UnidentifiedImageError" else f"can't be read ({error})"
        raise DataError(f"{name} {reason}; replace it, or write the data with `tleg prepare --skip-bad`") from error


@dataclass(frozen=True)
class ArraySplit:
    """Images in memory. images: uint8 (images, height, width, 3); labels: (images,)."""

    images: Any
    labels: Any

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        from PIL import Image

        return Image.fromarray(self.images[index]), int(self.labels[index])


def _digits() -> Source:
    """scikit-learn's digits, 1797 real images of 8x8 pixels, mixed by a fixed seed: 1297 to train, 500 to score."""
    order = slice(0, _DIGITS_TRAIN), slice(_DIGITS_TRAIN, None)
    train, val = (partial(_digits_split, part) for part in order)
    return Source("digits", tuple("0123456789"), train, val, in_memory=True)


def _digits_split(part: slice) -> Split:
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[part]
    grey = np.round(data.images[order] * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    return ArraySplit(np.repeat(grey[..., None], 3, axis=3), data.target[order])
