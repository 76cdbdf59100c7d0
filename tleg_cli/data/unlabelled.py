"""A folder of images without classes, for a training whose only target is a teacher."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from tleg_cli.data.ffcv.sidecar import BETON, SPLITS
from tleg_cli.data.folders import TRAIN, VAL, Listing, find_split, list_images
from tleg_cli.data.source import FileSplit
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source, Split

HELD_OUT = 10  # one image in ten is scored and not trained on, if the folder has no split of its own


def unlabelled_source(root: Path, classes: tuple[str, ...], *, exif_orientation: bool = True) -> Source:
    """All images below `root`, however deep. classes: of the teacher; every label is 0 and means nothing.

    train/ and val/ are the splits if both exist; else every tenth image, in the order of their names, is held out for scoring.
    Raises DataError if `root` is not a folder, or has fewer than two images.
    """
    if not os.path.isdir(root):
        raise DataError(f"--unlabelled needs a folder of images, and {root} is not a folder")
    if any((root / f"{split}{BETON}").exists() for split in SPLITS):
        raise DataError(
            f"{root} was written by `tleg prepare` and has labels; leave --unlabelled out, or give a folder of images"
        )
    folders = find_split(root, TRAIN), find_split(root, VAL)
    if folders[0] and folders[1]:
        train, val = (partial(_all_of, folder, classes, exif_orientation) for folder in folders if folder)
    else:
        train, val = (partial(_part_of, root, classes, exif_orientation, held_out) for held_out in (False, True))
    return Source(str(root), classes, train, val)


def _all_of(folder: Path, classes: tuple[str, ...], exif_orientation: bool) -> Split:
    files = list_images(folder)
    return FileSplit(Listing(folder, classes, files, np.zeros(len(files), dtype=np.int64)), exif_orientation)


def _part_of(root: Path, classes: tuple[str, ...], exif_orientation: bool, held_out: bool) -> Split:
    files = list_images(root)
    if len(files) < 2:
        raise DataError(f"{root} has {len(files)} image; at least 2 are needed, one of them to score")
    chosen = (np.arange(len(files)) % HELD_OUT == 0) == held_out
    listing = Listing(root, classes, files[chosen], np.zeros(int(chosen.sum()), dtype=np.int64))
    return FileSplit(listing, exif_orientation)
