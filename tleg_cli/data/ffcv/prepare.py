"""`tleg prepare` as a library call: both splits of a source, written alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tleg_cli.data.ffcv.sidecar import BETON, SPLITS, Sidecar, read_pair
from tleg_cli.data.ffcv.verify import Progress
from tleg_cli.data.ffcv.write import WriteOptions, write_beton
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source, Split

RAW_UP_TO = 64  # pixels: below, JPEG saves nothing


def prepare_folder(
    source: str,
    out: Path,
    *,
    write_mode: str,
    max_resolution: int | None,
    quality: int,
    workers: int,
    skip_bad: bool,
    force: bool,
    progress: Progress,
) -> dict[str, Sidecar]:
    """Writes out/train.beton and out/val.beton; what is there already and was made alike is kept.

    write_mode: "jpg", "raw", or "auto". Raises DataError for what can't be read, or for other files in `out`.
    """
    opened = open_source(source)
    splits = {split: opened.split(split) for split in SPLITS}
    mode = usual_mode(splits["train"], max_resolution) if write_mode == "auto" else write_mode
    options = WriteOptions(mode, max_resolution, quality, workers, skip_bad)
    there = [split for split in SPLITS if (out / f"{split}{BETON}").exists()]
    if there and not force:
        return _reuse(out, opened, splits, options)
    return {
        split: write_beton(images, opened.classes, out / f"{split}{BETON}", options, opened.name, progress)
        for split, images in splits.items()
    }


def usual_mode(images: Split, max_resolution: int | None) -> str:
    """By the first image that can be read: a set is of one kind, and a bad image is reported later, with all others."""
    for index in range(min(len(images), 100)):
        try:
            largest = max(images[index][0].size)
        except DataError:
            continue
        return "raw" if min(largest, max_resolution or largest) <= RAW_UP_TO else "jpg"
    return "jpg"


def _reuse(out: Path, source: Source, splits: Mapping[str, Split], options: WriteOptions) -> dict[str, Sidecar]:
    """The files that are there, if they are what was asked for. Raises DataError if not."""
    written = dict(zip(SPLITS, read_pair(out), strict=True))
    for split, images in splits.items():
        one = written[split]
        found = (one.source, one.samples + len(one.skipped), one.write_mode, one.max_resolution, one.quality)
        asked = (source.name, len(images), options.write_mode, options.max_resolution, options.quality)
        if found != asked or one.classes != source.classes:
            raise DataError(
                f"{out / split}{BETON} is there already, made otherwise; write it again with --force, or elsewhere"
            )
    return written
