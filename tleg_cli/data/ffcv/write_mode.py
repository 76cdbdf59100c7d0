"""raw or jpg: decided by the sizes of images that are spread over the set, never by the first one alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tleg_cli.data.ffcv.fingerprint import spread
from tleg_cli.data.ffcv.processes import in_order
from tleg_cli.data.source import FileSplit
from tleg_cli.errors import DataError
from tleg_cli.files import open_regular
from tleg_cli.hookspecs import Split

RAW_UP_TO = 64  # pixels a side: below, JPEG saves little and changes the pixels
_HEADERS = 2_000  # image files whose size is asked for: that takes a tenth of a millisecond each
_IMAGES = 200  # images that must be decoded for it


@dataclass(frozen=True)
class ModeChoice:
    """mode: "raw" or "jpg". reason: a short sentence."""

    mode: str
    reason: str


def choose_mode(images: Split, max_resolution: int | None, processes: int = 1) -> ModeChoice:
    """raw if the images have 64 x 64 pixels or fewer on average, as they will be stored. Images that can't be read don't count."""
    sizes = _sizes(images, processes)
    if not sizes:
        return ModeChoice("jpg", "no size of an image could be read")
    average = sum(_pixels(width, height, max_resolution) for width, height in sizes) / len(sizes)
    small = average <= RAW_UP_TO**2
    all_or_some = f"the {len(sizes):,} images" if len(sizes) == len(images) else f"{len(sizes):,} images of the set"
    compared = "at most" if small else "more than"
    reason = f"{all_or_some} have {average:,.0f} pixels on average, {compared} {RAW_UP_TO} x {RAW_UP_TO}"
    return ModeChoice("raw" if small else "jpg", reason)


def _pixels(width: int, height: int, max_resolution: int | None) -> float:
    shrunk = min(1.0, max_resolution / max(width, height)) if max_resolution else 1.0
    return width * height * shrunk**2


def _sizes(images: Split, processes: int) -> Sequence[tuple[int, int]]:
    """(width, height) of some images."""
    if isinstance(images, FileSplit):
        chosen = spread(len(images), _HEADERS)
        found = [_size_of_file(images, int(index)) for index in chosen]
        return [size for size in found if size is not None]
    chosen = spread(len(images), _IMAGES)

    def size(number: int) -> bytes:
        width, height = images[int(chosen[number])][0].size
        return f"{width} {height}".encode()

    read = (result for result in in_order(size, len(chosen), processes) if not isinstance(result, DataError))
    return [(int(width), int(height)) for width, height in (result.split() for result in read)]


def _size_of_file(images: FileSplit, index: int) -> tuple[int, int] | None:
    from tleg_cli.data.read_image import load_pillow

    try:
        with open_regular(images.listing.path(index)) as file, load_pillow().open(file) as image:
            return int(image.size[0]), int(image.size[1])
    except Exception:  # Pillow raises anything for damaged files; they are reported when they are written
        return None
