"""What a plan finds of its data on the disk: how many images, and how large their .beton files are or may become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tleg_cli.data.ffcv.codec import WriteOptions
from tleg_cli.data.ffcv.file import beton_bytes
from tleg_cli.data.ffcv.sidecar import BETON, SPLITS
from tleg_cli.data.ffcv.write_mode import RAW_UP_TO, choose_mode
from tleg_cli.data.source import FileSplit
from tleg_cli.hookspecs import Split
from tleg_cli.plan.count import Counted, count_images

_LOOKED_AT = 20_000  # image files whose size is asked for; the others of a split are taken to be like them
WRITTEN = "of the files that are there"
UNKNOWN = "no file is there, and nothing tells how large it would become"
RAW = f"images of up to {RAW_UP_TO} pixels are written without compression"
ESTIMATED = (
    "estimated from the image files' own sizes: `tleg prepare` writes each image as JPEG again, "
    f"of quality {WriteOptions.quality} and not shrunk unless told otherwise"
)


@dataclass(frozen=True)
class Betons:
    """Bytes of train.beton and val.beton, None if unknown, and what these numbers are."""

    train_bytes: int | None = None
    val_bytes: int | None = None
    what: str = UNKNOWN


def look_at(path: str) -> tuple[Counted, Betons]:
    """The images of what `--data` names, and its .beton files. Raises DataError as count_images does."""
    counted, splits = count_images(path)
    if splits is not None:
        return counted, _estimate(*splits)
    train, val = (Path(path) / f"{split}{BETON}" for split in SPLITS)
    return counted, Betons(train.stat().st_size, val.stat().st_size, WRITTEN)


def _estimate(train: Split, val: Split) -> Betons:
    sizes = [size for size in (_files_bytes(train), _files_bytes(val)) if size is not None]
    if len(sizes) < 2:
        return Betons()
    if choose_mode(train, None).mode == "raw":  # what `--write-mode auto` would choose
        return Betons(what=RAW)
    rest = f"; 1 of {_every(train)} was looked at" if _every(train) > 1 else ""
    return Betons(beton_bytes(len(train), sizes[0]), beton_bytes(len(val), sizes[1]), ESTIMATED + rest)


def _every(split: Split) -> int:
    """One file in how many is looked at."""
    return max(1, -(-len(split) // _LOOKED_AT))


def _files_bytes(split: Split) -> int | None:
    """Of all image files of a split, None where it isn't made of files that can be asked."""
    if not isinstance(split, FileSplit):
        return None
    asked = range(0, len(split), _every(split))
    try:
        found = sum(split.listing.path(index).stat().st_size for index in asked)
    except OSError:
        return None
    return found * len(split) // len(asked)
