"""Where images come from: a name or a folder becomes two splits of (PIL image, label)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.errors import DataError, did_you_mean

VAL_FOLDERS = ("val", "validation", "test")


@dataclass(frozen=True)
class Source:
    """classes: names in the order of the labels. train, val: indexable, (PIL image in RGB, int label); `name_of` names one."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split


@dataclass(frozen=True)
class Split:
    """`images[i]` is (PIL image in RGB, label); `names[i]` says in an error message which one it is."""

    images: Any
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Raises DataError that names the image if it can't be read."""
        try:
            image, label = self.images[index]
            return image.convert("RGB"), int(label)
        except Exception as error:  # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"image {self.names[index]} can't be read: {reason}") from error


def open_source(path: str) -> Source:
    """The source of a name (`digits`), a folder with train/ and val/, or a plugin's `scheme/rest`. Raises DataError."""
    if path == "digits":
        return _digits()
    scheme, _, rest = path.partition("/")
    openers = _plugin_sources()
    if scheme in openers:
        return openers[scheme](rest)
    folder = Path(path)
    if not folder.is_dir():
        known = ["digits", *openers]
        raise DataError(f"no data at {path!r}: no folder, and no source of that name.{did_you_mean(path, known)}")
    return _folders(folder)


def _plugin_sources() -> dict[str, Any]:
    from tleg_cli import plugin_manager

    return plugin_manager.sources()


DIGITS_TRAIN = 1297  # of 1797; the other 500 are the validation split


def _digits() -> Source:
    """scikit-learn's handwritten digits (UCI, 1998), 8x8 pixels, 0..16 as 0..255; a fixed split."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(pixels))

    def split(indices: Any) -> Split:
        pairs = [(Image.fromarray(pixels[index]).convert("RGB"), int(digits.target[index])) for index in indices]
        return Split(pairs, [f"digits[{index}]" for index in indices])

    return Source("digits", tuple("0123456789"), split(order[:DIGITS_TRAIN]), split(order[DIGITS_TRAIN:]))


def _folders(folder: Path) -> Source:
    """train/CLASS/IMAGE and val/CLASS/IMAGE, read by timm."""
    train_folder, val_folder = folder / "train", _val_folder(folder)
    if not train_folder.is_dir():
        raise DataError(f"{folder} holds no train/; a data set is a folder with train/CLASS/IMAGE and val/CLASS/IMAGE")
    classes, val_classes = _classes(train_folder), _classes(val_folder)
    if classes != val_classes:
        odd = sorted(set(classes) ^ set(val_classes))
        where = "train" if odd[0] in classes else val_folder.name
        raise DataError(f"{folder}: class {odd[0]!r} stands in {where}/ only ({len(odd)} such classes); both need the same")
    return Source(str(folder), tuple(classes), _folder_split(train_folder, classes), _folder_split(val_folder, classes))


def _val_folder(folder: Path) -> Path:
    for name in VAL_FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    raise DataError(f"{folder} holds none of {', '.join(VAL_FOLDERS)}; a data set has train/ and val/ with a folder for each class")


def _classes(folder: Path) -> list[str]:
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror}") from error
    if not classes:
        raise DataError(f"{folder} holds no class folders; images stand in {folder.name}/CLASS/IMAGE")
    return classes


def _folder_split(folder: Path, classes: Sequence[str]) -> Split:
    from timm.data.readers import create_reader

    try:
        reader = create_reader("folder", str(folder), class_map={name: index for index, name in enumerate(classes)})
    except RuntimeError as error:  # timm found no image at all
        raise DataError(str(error).splitlines()[0]) from error
    names = reader.filenames(absolute=True)
    counts = np.bincount([label for _, label in reader.samples], minlength=len(classes))
    if counts.min() == 0:
        raise DataError(f"{folder / classes[int(counts.argmin())]} holds no images")
    return Split(_Opened(reader), names)


@dataclass(frozen=True)
class _Opened:
    """A timm reader whose files are opened as images. timm's own ImageDataset replaces a bad image by the next one."""

    reader: Any

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        file, label = self.reader[index]
        with file, Image.open(file) as image:
            return image.convert("RGB"), label
