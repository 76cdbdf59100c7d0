"""How an image file becomes 8-bit RGB: one rule for folders, tars, named sources and the files of `tleg prepare`.

docs/datasets.md states the rule. Nothing is clipped silently: an image whose range is unknown is refused by name.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import IO, TYPE_CHECKING

import numpy as np

from tleg_cli.errors import DataError, printable

if TYPE_CHECKING:
    from PIL.Image import Image

WAY_OUT = "; replace it, or write the data with `tleg prepare --skip-bad`"  # of data; left out of messages where it does not apply
LARGEST = 1 << 28  # pixels: 268 megapixels take 0.8 GB as RGB, and a few kilobytes can claim any size
_WHITE = (255, 255, 255, 255)
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258  # tags of EXIF and of TIFF
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_INTEGERS_OF_16_BITS = ("PNG", "PPM")  # formats whose mode I is always 0..65535


def read_rgb(file: str | IO[bytes], name: str, *, exif_orientation: bool = True) -> Image:
    """The first frame of an image file as RGB, upright, decoded to its end.

    Raises DataError that names the image: Pillow raises exceptions of any kind on damaged files.
    """
    with name_damage(name), load_pillow().open(file) as image:
        return as_rgb(image, name, exif_orientation=exif_orientation)


def as_rgb(image: Image, name: str, *, exif_orientation: bool = True) -> Image:
    """An opened image as read_rgb returns it; use it in a `with name_damage(name)` block if it is still to be decoded."""
    rgb = to_rgb(image, name)
    return _upright(image, rgb) if exif_orientation else rgb


@contextlib.contextmanager
def name_damage(name: str) -> Iterator[None]:
    """Whatever goes wrong in the block becomes a DataError that names the image."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if type(error).__name__ == "DecompressionBombError":
            limit = f"{LARGEST // 10**6} megapixels"
            raise DataError(f"{name} has more than {limit}, the most that are read; shrink or remove it") from None
        raise DataError(f"{name} {_why(error)}{WAY_OUT}") from error


def to_rgb(image: Image, name: str) -> Image:
    """An image of any mode as 8-bit RGB. Raises DataError for integers and floats of an unknown range.

    16 bits are scaled from 0..65535 and floats from 0..1; transparent parts become white.
    """
    if image.mode in _SIXTEEN_BITS:
        return _from_levels(image, _largest_level(image))
    if image.mode == "I":
        if image.format in _INTEGERS_OF_16_BITS:
            return _from_levels(image, 65535)
        raise DataError(f"{name} has 32-bit integers (mode I) of an unknown range; save it with 8 or 16 bits")
    if image.mode == "F":
        return _from_floats(image, name)
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB")


@cache
def load_pillow() -> ModuleType:
    """PIL.Image with our limit of pixels in this process, and without warnings that say nothing about a mistake of the user."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = LARGEST // 2  # Pillow warns above this, and refuses above twice as much
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # odd EXIF tags, palettes with several transparent colours
    return Image


def _why(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "is not an image"
    if isinstance(error, MemoryError):
        return "can't be read (out of memory)"
    return f"can't be read ({printable(' '.join(str(error).split())[:200]) or type(error).__name__})"


def _upright(image: Image, rgb: Image) -> Image:
    """`rgb`, turned as the EXIF data of its decoded `image` say. Pillow turns TIFF files itself, and forgets their tag."""
    from PIL import ImageOps

    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data raise exceptions of any kind, and say nothing
        return rgb
    if orientation not in range(2, 9):
        return rgb
    rgb.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(rgb)


def _largest_level(image: Image) -> int:
    """Of mode I;16: 65535, or less for TIFF files of 9 to 15 bits."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    return (1 << bits) - 1 if 8 < bits < 16 else 65535


def _from_levels(image: Image, largest: int) -> Image:
    """Grey of 0..largest, rounded to 0..255; one level may be marked as transparent (PNG's tRNS)."""
    levels = np.asarray(image).astype(np.int64)
    grey = np.clip((levels * 255 + largest // 2) // largest, 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[levels == clear] = 255
    return load_pillow().fromarray(grey).convert("RGB")


def _from_floats(image: Image, name: str) -> Image:
    values = np.asarray(image)
    if not (values.size and values.min() >= 0 and values.max() <= 1):  # NaN is refused as well
        raise DataError(f"{name} has floats (mode F) outside 0..1, a range that is unknown; save it with 8 or 16 bits")
    return load_pillow().fromarray(np.round(values * 255).astype(np.uint8)).convert("RGB")


def _on_white(image: Image) -> Image:
    """Pillow's own conversion drops the alpha channel and shows the colours below it, which the author never saw."""
    colours = image.convert("RGBA")
    ground = load_pillow().new("RGBA", colours.size, _WHITE)
    ground.alpha_composite(colours)
    return ground.convert("RGB")
