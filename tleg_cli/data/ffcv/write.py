"""Writes one .beton file: complete and compared with its source, or not at all."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tleg_cli.data.ffcv.codec import WriteOptions, encode
from tleg_cli.data.ffcv.compare import compare
from tleg_cli.data.ffcv.file import BetonWriter, Stored
from tleg_cli.data.ffcv.guard import import_ffcv
from tleg_cli.data.ffcv.processes import Work, in_order
from tleg_cli.data.ffcv.sidecar import Sidecar, write_sidecar
from tleg_cli.data.ffcv.verify import Progress
from tleg_cli.data.source import name_of
from tleg_cli.errors import DataError
from tleg_cli.files import atomic_file
from tleg_cli.hookspecs import Split

_HEAD = struct.Struct("<IIqB")  # height, width, label, whether it is a JPEG


@dataclass(frozen=True)
class Task:
    """A split to be written. skip_bad: leave out images that can't be read. processes: how many read images."""

    images: Split
    classes: Sequence[str]
    options: WriteOptions
    skip_bad: bool = False
    processes: int = 2


def write_beton(task: Task, path: Path, sidecar: Sidecar, progress: Progress) -> Sidecar:
    """Writes `path` and its sidecar, then reads both the file and its source again and compares them.

    sidecar: what is known before. Returns it with what was found. Raises DataError that lists the images which can't be used
    (unless they are to be skipped), or names one that came out wrong; TlegError if the disk is full.
    """
    import_ffcv()
    with atomic_file(path) as temporary:
        bad = _write_images(task, temporary, progress)
        if bad and not task.skip_bad:
            raise DataError(_list_bad(bad, len(task.images)))
        if len(bad) == len(task.images):
            raise DataError(f"none of the {len(task.images)} images can be used; the first: {bad[0][1]}")
        indices = np.setdiff1d(np.arange(len(task.images)), [index for index, _ in bad])
        compared = _compare(task, indices, temporary, progress)
        sidecar = replace(
            sidecar,
            samples=len(indices),
            bytes=temporary.stat().st_size,
            skipped=tuple(reason for _, reason in bad),
            compared=compared,
        )
        # At no time is there a .beton file with a sidecar that isn't its own, wherever this process is killed.
        path.unlink(missing_ok=True)
        write_sidecar(path, sidecar)
    return sidecar


def _write_images(task: Task, path: Path, progress: Progress) -> list[tuple[int, str]]:
    """Encodes and stores all images. Returns index and reason of each that can't be used."""
    bad = []
    count = len(task.images)
    with (
        path.open("wb", buffering=1 << 20) as file,
        closing(in_order(_encoder(task), count, task.processes)) as results,
    ):
        writer = BetonWriter(file, count)
        for index, result in enumerate(results):
            if isinstance(result, DataError):
                bad.append((index, str(result)))
            else:
                height, width, label, jpeg = _HEAD.unpack_from(result)
                writer.add(Stored(memoryview(result)[_HEAD.size :], height, width, bool(jpeg)), label)
            progress("writing", index + 1, count)
        writer.finish()
    return bad


def _compare(task: Task, indices: np.ndarray, path: Path, progress: Progress) -> int:
    try:
        return compare(path, task.images, indices, task.options, task.processes, progress)
    except DataError as error:
        raise DataError(
            f"{error}: its source changed while it was written, or the memory or the disk is faulty; run the command again"
        ) from None


def _encoder(task: Task) -> Work:
    """What a process does with one image. Runs in the child."""

    def read_and_encode(index: int) -> bytes:
        image, label = task.images[index]
        if not 0 <= label < len(task.classes):
            raise DataError(
                f"{name_of(task.images, index)} has label {label}, but there are {len(task.classes)} classes"
            )
        try:
            stored = encode(np.asarray(image), task.options)
        except DataError as error:
            raise DataError(f"{name_of(task.images, index)} {error}") from None
        return _HEAD.pack(stored.height, stored.width, label, stored.jpeg) + stored.data

    return read_and_encode


def _list_bad(bad: Sequence[tuple[int, str]], images: int) -> str:
    shown = "; ".join(reason for _, reason in bad[:10])
    more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
    return f"{len(bad)} of {images} images can't be used: {shown}{more}. Repair them, or leave them out with --skip-bad"
