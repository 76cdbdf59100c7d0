"""Writes .beton files: no half file, no hang, no image that silently turned black."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.data.ffcv.guard import import_ffcv
from tleg_cli.data.ffcv.sidecar import Sidecar, write_sidecar
from tleg_cli.data.ffcv.verify import Progress, compare
from tleg_cli.data.ffcv.writer_guard import guards
from tleg_cli.data.source import name_of
from tleg_cli.errors import DataError
from tleg_cli.files import atomic_file, temporary_folder
from tleg_cli.hookspecs import Split

LONGEST_SIDE = 65_500  # pixels: JPEG's limit
_SMALL_PAGE, _LARGE_PAGE, _LARGEST_PAGE = 1 << 21, 1 << 26, 1 << 30  # bytes
_MANY = 10_000  # images, in a file for which a large page more or less is nothing


@dataclass(frozen=True)
class WriteOptions:
    """max_resolution: pixels of the longer side, larger images are shrunk (area average). quality: of JPEG."""

    write_mode: str = "jpg"
    max_resolution: int | None = None
    quality: int = 90
    workers: int = 2
    skip_bad: bool = False

    def page(self, images: int) -> int:
        """Bytes of FFCV's pages to begin with: an image must fit in one, each worker holds one, the file grows by whole ones."""
        if self.max_resolution:
            return max(_SMALL_PAGE, _power_of_2(3 * self.max_resolution**2))
        return _SMALL_PAGE if images < _MANY else _LARGE_PAGE


def _power_of_2(size: int) -> int:
    return 1 << (size - 1).bit_length()


def write_beton(
    images: Split, classes: Sequence[str], path: Path, options: WriteOptions, source: str, progress: Progress
) -> Sidecar:
    """Writes `path` and its sidecar, decodes the file again and compares; all of it or nothing.

    Raises DataError that lists the images which can't be read (unless they are to be skipped), or FFCV's failure.
    """
    import_ffcv()
    indices = np.arange(len(images))
    with temporary_folder() as notes, atomic_file(path) as temporary:
        checked = _Checked(images, notes, options, options.page(len(images)))
        _write(checked, indices, temporary, options, progress)
        bad, large = checked.bad(), checked.large()
        if bad and not options.skip_bad:
            raise DataError(_list_bad(bad, len(images)))
        if len(bad) == len(images):
            raise DataError(f"none of the {len(images)} images can be read; the first: {bad[0][1]}")
        if bad or large:
            indices = np.setdiff1d(indices, [index for index, _ in bad])
            page = _power_of_2(max([checked.page, *(size for _, size in large)]))
            _write(replace(checked, page=page), indices, temporary, options, progress)
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
    """What FFCV's workers read: an exception there would hang the writer for ever, so a bad image is noted and replaced.

    notes: a folder. page: bytes; an image that is larger is noted too, and written in a second pass with larger pages.
    """

    images: Split
    notes: Path
    options: WriteOptions
    page: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        try:
            image, label = self.images[int(index)]
            pixels = np.asarray(image)
            size = self._size(int(index), pixels)
        except DataError as error:
            return self._note("bad", int(index), str(error))
        return self._note("large", int(index), size) if size > self.page else (pixels, label)

    def _note(self, kind: str, index: int, what: Any) -> tuple[np.ndarray, int]:
        with (self.notes / kind).open("a") as file:  # one short write: whole lines, whoever writes
            file.write(json.dumps([index, what]) + "\n")
        return np.zeros((1, 1, 3), dtype=np.uint8), 0

    def _size(self, index: int, pixels: np.ndarray) -> int:
        """Bytes in the file, or more. Raises DataError for an image that can't be written."""
        height, width, _ = pixels.shape
        scale = min(1.0, (self.options.max_resolution or max(height, width)) / max(height, width))
        rows, columns = int(height * scale), int(width * scale)
        if rows < 1 or columns < 1:
            raise DataError(f"{name_of(self.images, index)} ({width}x{height}) vanishes at that resolution")
        size = 3 * rows * columns
        if size > self.page and self.options.write_mode == "jpg":  # it must be compressed to know
            size = _compressed(pixels, self.options)
        if size > _LARGEST_PAGE or max(rows, columns) > LONGEST_SIDE:
            raise DataError(f"{name_of(self.images, index)} ({width}x{height}) is too large; give --max-resolution")
        return size

    def bad(self) -> list[tuple[int, str]]:
        """Index and reason of each image that can't be used."""
        return self._noted("bad")

    def large(self) -> list[tuple[int, int]]:
        """Index and bytes of each image that no page could hold."""
        return self._noted("large")

    def _noted(self, kind: str) -> list[tuple[int, Any]]:
        file = self.notes / kind
        return sorted(dict(map(json.loads, file.read_text().splitlines())).items()) if file.exists() else []


def _compressed(pixels: np.ndarray, options: WriteOptions) -> int:
    from ffcv.fields.rgb_image import encode_jpeg, resizer

    return int(encode_jpeg(resizer(pixels, options.max_resolution), options.quality).nbytes)


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
    writer = ffcv.writer.DatasetWriter(str(path), fields, page_size=checked.page, num_workers=options.workers)
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
