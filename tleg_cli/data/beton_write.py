"""Writes .beton files: no half file, no hang, no image that silently turned black."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.atomic import atomic_file
from tleg_cli.data.beton_verify import Progress, compare
from tleg_cli.data.ffcv_guard import import_ffcv
from tleg_cli.data.sidecar import Sidecar, write_sidecar
from tleg_cli.data.sources import Split, name_of
from tleg_cli.data.writer_guard import guards
from tleg_cli.errors import DataError

LONGEST_SIDE = 65_500  # pixels: JPEG's limit


@dataclass(frozen=True)
class WriteOptions:
    """max_resolution: pixels of the longer side, larger images are shrunk (area average). quality: of JPEG."""

    write_mode: str = "jpg"
    max_resolution: int | None = None
    quality: int = 90
    workers: int = 2
    skip_bad: bool = False

    def page(self) -> int:
        """Bytes of FFCV's pages: an image must fit in one, each worker holds one, and the file grows by whole ones."""
        side = self.max_resolution or (256 if self.write_mode == "raw" else 3000)
        return max(1 << 21, 1 << math.ceil(math.log2(6 * side * side)))


def write_beton(
    images: Split, classes: Sequence[str], path: Path, options: WriteOptions, source: str, progress: Progress
) -> Sidecar:
    """Writes `path` and its sidecar, decodes the file again and compares; all of it or nothing.

    Raises DataError that lists the images which can't be read (unless they are to be skipped), or FFCV's failure.
    """
    import_ffcv()
    indices = np.arange(len(images))
    with tempfile.TemporaryDirectory(prefix="tleg-") as notes, atomic_file(path) as temporary:
        checked = _Checked(images, Path(notes) / "bad.jsonl", options)
        _write(checked, indices, temporary, options, progress)
        bad = checked.bad()
        if bad and not options.skip_bad:
            raise DataError(_list_bad(bad, len(images)))
        if len(bad) == len(images):
            raise DataError(f"none of the {len(images)} images can be read; the first: {bad[0][1]}")
        if bad:
            indices = np.setdiff1d(indices, [index for index, _ in bad])
            _write(checked, indices, temporary, options, progress)
        lossless = options.write_mode == "raw"
        compare(
            temporary, images, indices, options.max_resolution,
            lossless=lossless, progress=progress, threads=options.workers,
        )  # fmt: skip
        size = temporary.stat().st_size
    sidecar = Sidecar(
        samples=len(indices),
        classes=tuple(classes),
        max_resolution=options.max_resolution,
        write_mode=options.write_mode,
        quality=options.quality,
        bytes=size,
        source=source,
        skipped=tuple(reason for _, reason in bad),
    )
    write_sidecar(path, sidecar)
    return sidecar


def _list_bad(bad: Sequence[tuple[int, str]], images: int) -> str:
    shown = "; ".join(reason for _, reason in bad[:10])
    more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
    return f"{len(bad)} of {images} images can't be used: {shown}{more}. Repair them, or leave them out with --skip-bad"


@dataclass(frozen=True)
class _Checked:
    """What FFCV's workers read: an exception there would hang the writer for ever, so a bad image is noted and replaced."""

    images: Split
    notes: Path
    options: WriteOptions

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        try:
            image, label = self.images[int(index)]
            pixels = np.asarray(image)
            self._fits(int(index), pixels)
        except DataError as error:
            with self.notes.open("a") as file:  # one short write: whole lines, whoever writes
                file.write(json.dumps([int(index), str(error)]) + "\n")
            return np.zeros((1, 1, 3), dtype=np.uint8), 0
        return pixels, label

    def _fits(self, index: int, pixels: np.ndarray) -> None:
        height, width, _ = pixels.shape
        scale = min(1.0, (self.options.max_resolution or max(height, width)) / max(height, width))
        if height * width * 3 * scale**2 > self.options.page() // 2 or max(height, width) * scale > LONGEST_SIDE:
            raise DataError(f"{name_of(self.images, index)} ({width}x{height}) is too large; give --max-resolution")
        if int(height * scale) < 1 or int(width * scale) < 1:
            raise DataError(f"{name_of(self.images, index)} ({width}x{height}) vanishes at that resolution")

    def bad(self) -> list[tuple[int, str]]:
        if not self.notes.exists():
            return []
        found = dict(map(json.loads, self.notes.read_text().splitlines()))
        return sorted(found.items())


def _write(checked: _Checked, indices: np.ndarray, path: Path, options: WriteOptions, progress: Progress) -> None:
    """FFCV's writer, which would wait for ever for a worker that died: we look after them each time it waits."""
    import ffcv.writer
    from ffcv.fields import IntField, RGBImageField

    fields = {
        "image": RGBImageField(
            write_mode=options.write_mode, max_resolution=options.max_resolution, jpeg_quality=options.quality
        ),
        "label": IntField(),
    }
    writer = ffcv.writer.DatasetWriter(str(path), fields, page_size=options.page(), num_workers=options.workers)
    workers: list[Any] = []
    stand_ins = guards(workers, progress)
    original = {name: getattr(ffcv.writer, name) for name in stand_ins}
    vars(ffcv.writer).update(stand_ins)
    try:
        writer.from_indexed_dataset(checked, indices=indices.tolist(), chunksize=50)
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            worker.kill()
            worker.join()
        memory = getattr(writer, "metadata_sm", None)
        if memory is not None and hasattr(memory, "unlink"):
            memory.unlink()  # of /dev/shm, where it would stay
        raise
    finally:
        vars(ffcv.writer).update(original)
