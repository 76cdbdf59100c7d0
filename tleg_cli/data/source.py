"""The two usual kinds of Split: files on the disk and arrays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tleg_cli.data.folders import Listing
from tleg_cli.data.read_image import load_pillow, read_rgb
from tleg_cli.errors import DataError
from tleg_cli.files import open_regular
from tleg_cli.hookspecs import Split

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class FileSplit:
    """Image files. exif_orientation: turn photographs upright as their EXIF data say."""

    listing: Listing
    exif_orientation: bool = True

    def __len__(self) -> int:
        return len(self.listing.files)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        name = self.where(index)
        try:
            file = open_regular(self.listing.path(index))
        except OSError as error:
            raise DataError(f"can't read {name}: {error.strerror}") from error
        with file:
            return read_rgb(file, name, exif_orientation=self.exif_orientation), int(self.listing.labels[index])

    def where(self, index: int) -> str:
        """The file of image `index`, for messages."""
        return str(self.listing.path(index))


@dataclass(frozen=True)
class ArraySplit:
    """Images in memory. images: uint8 (images, height, width, 3); labels: (images,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        image: Image = load_pillow().fromarray(self.images[index])
        return image, int(self.labels[index])


def name_of(split: Split, index: int) -> str:
    """What a message calls image `index`: its file if it has one."""
    where = getattr(split, "where", None)
    return str(where(index)) if callable(where) else f"image {index}"
