"""`tleg prepare` as a library call: both splits of a source, written alike. What is complete already is kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tleg_cli.data.ffcv.codec import WriteOptions
from tleg_cli.data.ffcv.compare import compare
from tleg_cli.data.ffcv.fingerprint import Fingerprint, fingerprint
from tleg_cli.data.ffcv.guard import import_ffcv
from tleg_cli.data.ffcv.sidecar import BETON, SPLITS, Sidecar, read_sidecar, sidecar_path, write_sidecar
from tleg_cli.data.ffcv.verify import Progress
from tleg_cli.data.ffcv.write import Task, write_beton
from tleg_cli.data.ffcv.write_mode import choose_mode
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError
from tleg_cli.files import remove_leftovers
from tleg_cli.hookspecs import Source, Split


@dataclass(frozen=True)
class Prepared:
    """A split on the disk. kept: it was there already."""

    sidecar: Sidecar
    kept: bool


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
    exif_orientation: bool = True,
) -> dict[str, Prepared]:
    """Writes out/train.beton and out/val.beton, or those of them that aren't there yet.

    write_mode: "jpg", "raw", or "auto". force: write both again. workers: processes that read images. Raises DataError for what
    can't be read, and for files in `out` that were made otherwise or from other images.
    """
    with _alone_in(out):
        opened = open_source(source, exif_orientation=exif_orientation)
        splits = {split: opened.split(split) for split in SPLITS}
        written = {} if force else _written(out)
        mode, reason = _mode(write_mode, splits["train"], written, max_resolution, workers)
        options = WriteOptions(mode, max_resolution, quality, exif_orientation)
        expected = _expected(opened, splits, options, reason, workers)
        for split, found in written.items():
            _refuse_other(out / f"{split}{BETON}", found, expected[split], len(splits[split]))
        kept = {
            split: _keep(out / f"{split}{BETON}", found, expected[split], splits[split], options, workers, progress)
            for split, found in written.items()
        }
        for split, images in splits.items():
            if split not in kept:
                task = Task(images, opened.classes, options, skip_bad, workers)
                sidecar = write_beton(task, out / f"{split}{BETON}", expected[split], progress)
                kept[split] = Prepared(sidecar, kept=False)
    return {split: kept[split] for split in SPLITS}


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Locks a folder, and removes what a call that was killed left in it. Raises DataError if another call is at work there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DataError(f"can't write to {out}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another `tleg prepare` is writing to {out}; wait for it, or choose another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        for split in SPLITS:  # of calls that were killed: tens of gigabytes each if that was ImageNet
            for file in (out / f"{split}{BETON}", sidecar_path(out / f"{split}{BETON}")):
                remove_leftovers(out, file.name)
        yield
    finally:
        os.close(folder)


def _written(out: Path) -> dict[str, Sidecar]:
    """The splits that are complete: a .beton file appears last."""
    betons = {split: out / f"{split}{BETON}" for split in SPLITS}
    return {split: read_sidecar(beton) for split, beton in betons.items() if os.path.lexists(beton)}


def _mode(
    wanted: str, train: Split, written: Mapping[str, Sidecar], max_resolution: int | None, workers: int
) -> tuple[str, str]:
    """How pixels are stored, and why: a split that is there already decides for the other."""
    if wanted != "auto":
        return wanted, "--write-mode"
    for found in written.values():
        return found.write_mode, found.mode_reason
    choice = choose_mode(train, max_resolution, workers)
    return choice.mode, choice.reason


def _expected(
    source: Source, splits: Mapping[str, Split], options: WriteOptions, reason: str, workers: int
) -> dict[str, Sidecar]:
    """The sidecars as far as they are known before anything is written."""
    prints = {split: fingerprint(images, workers) for split, images in splits.items()}
    sidecar = Sidecar(
        samples=0,
        classes=tuple(source.classes),
        **asdict(options),
        bytes=0,
        source=source.name,
        mode_reason=reason,
        pair=_pair(source.classes, options, prints),
    )
    return {split: replace(sidecar, listing=one.listing, times=one.times) for split, one in prints.items()}


def _pair(classes: tuple[str, ...], options: WriteOptions, prints: Mapping[str, Fingerprint]) -> str:
    """The same for both splits, and for every call that would write the same files."""
    content = [classes, asdict(options), {split: asdict(one) for split, one in prints.items()}]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _refuse_other(beton: Path, found: Sidecar, expected: Sidecar, images: int) -> None:
    """Raises DataError if a file was made otherwise, or if its source has changed since."""
    what = next((name for name in _SETTINGS if getattr(found, name) != getattr(expected, name)), None)
    if what is not None:
        raise DataError(
            f"{beton} was written with other settings ({_SETTINGS[what]}); write it again with --force, or to another folder"
        )
    changed = found.listing is not None and found.listing != expected.listing
    if changed or found.samples + len(found.skipped) != images:
        raise DataError(
            f"{beton} was written from other files: images or labels of {expected.source} have changed, or {found.source} "
            "was another data set; write it again with --force, or to another folder"
        )


_SETTINGS = {
    "classes": "class names",
    "write_mode": "--write-mode",
    "max_resolution": "--max-resolution",
    "quality": "--quality",
    "exif_orientation": "EXIF orientation",
}


def _keep(
    beton: Path,
    found: Sidecar,
    expected: Sidecar,
    images: Split,
    options: WriteOptions,
    workers: int,
    progress: Progress,
) -> Prepared:
    """A file that is there already. If the times of its source files have changed, the images are compared again.

    Raises DataError if they aren't the same.
    """
    compared = found.compared
    if (found.listing, found.times) != (expected.listing, expected.times):
        compared = _compare_again(beton, found, images, options, workers, progress)
    now = replace(found, listing=expected.listing, times=expected.times, pair=expected.pair, compared=compared)
    if now != found:
        write_sidecar(beton, now)
    return Prepared(now, kept=True)


def _compare_again(
    beton: Path, found: Sidecar, images: Split, options: WriteOptions, workers: int, progress: Progress
) -> int:
    if found.skipped:  # which of the images are in the file isn't known
        raise DataError(f"the source files of {beton} have changed since it was written; write it again with --force")
    import_ffcv()
    try:
        return compare(beton, images, np.arange(found.samples), options, workers, progress)
    except DataError as error:
        raise DataError(
            f"{beton}: the source files have changed since it was written ({error}); write it again with --force"
        ) from None
