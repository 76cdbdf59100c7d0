"""Where images come from, before any loader: a Source has two splits of (RGB image, label), whatever lies behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tleg_cli.data.folders import Listing
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Split

if TYPE_CHECKING:
    from PIL.Image import Image

TIMM_SCHEMES = ("torch", "hfds")
_DIGITS_TRAIN = 1297  # of 1797


def name_of(split: Split, index: int) -> str:
    """What an error calls image `index`: its file where there is one."""
    listing = getattr(split, "listing", None)
    return str(listing.path(index)) if isinstance(listing, Listing) else f"image {index}"


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
