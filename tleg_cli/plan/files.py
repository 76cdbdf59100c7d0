"""What a plan finds of its data on the disk: how many images, and how large their .beton files are or will be."""

from __future__ import annotations

from pathlib import Path

from tleg_cli.data.ffcv.codec import WriteOptions
from tleg_cli.data.ffcv.file import beton_bytes
from tleg_cli.data.ffcv.sidecar import BETON, SPLITS
from tleg_cli.data.ffcv.write_mode import RAW_UP_TO, choose_mode
from tleg_cli.data.source import FileSplit
from tleg_cli.hookspecs import Split
from tleg_cli.plan.count import Counted, count_images
from tleg_cli.plan.document import BetonSizes

_SAMPLED = 20_000  # image files whose size is read; the others of a split are assumed to be similar
WRITTEN = "the sizes of the existing files"
UNKNOWN = "not written yet; its size cannot be estimated"
RAW = f"{UNKNOWN} (images of up to {RAW_UP_TO} pixels are written without compression)"
ESTIMATED = (
    "estimated from the image files' own sizes: `tleg prepare` writes each image as JPEG again, "
    f"with quality {WriteOptions.quality} and at full size unless options say otherwise"
)


def find_data(path: str) -> tuple[Counted, BetonSizes]:
    """The images of what `--data` names, and its .beton files. Raises DataError as count_images does."""
    counted, splits = count_images(path)
    if splits is not None:
        return counted, _estimate(*splits)
    if counted.kind == "named":
        return counted, unknown_sizes()
    train, val = (Path(path) / f"{split}{BETON}" for split in SPLITS)
    return counted, {"train_bytes": train.stat().st_size, "val_bytes": val.stat().st_size, "what": WRITTEN}


def unknown_sizes(why: str = UNKNOWN) -> BetonSizes:
    return {"train_bytes": None, "val_bytes": None, "what": why}


def _estimate(train: Split, val: Split) -> BetonSizes:
    sizes = [size for size in (_files_bytes(train), _files_bytes(val)) if size is not None]
    if len(sizes) < 2:
        return unknown_sizes()
    if choose_mode(train, None).mode == "raw":  # what `--write-mode auto` would choose
        return unknown_sizes(RAW)
    rest = f"; from 1 in {_every(train)} files" if _every(train) > 1 else ""
    return {
        "train_bytes": beton_bytes(len(train), sizes[0]),
        "val_bytes": beton_bytes(len(val), sizes[1]),
        "what": ESTIMATED + rest,
    }


def _every(split: Split) -> int:
    """The size of one file in how many is read."""
    return max(1, -(-len(split) // _SAMPLED))


def _files_bytes(split: Split) -> int | None:
    """Of all image files of a split, None if it does not consist of files whose size can be read."""
    if not isinstance(split, FileSplit):
        return None
    sampled = range(0, len(split), _every(split))
    try:
        found = sum(split.listing.path(index).stat().st_size for index in sampled)
    except OSError:
        return None
    return found * len(split) // len(sampled)
