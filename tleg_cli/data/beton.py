"""Write and check .beton files: no half file, no hang, no image that silently turned black."""

from __future__ import annotations

import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tleg_cli.atomic import atomic_file
from tleg_cli.data.ffcv_loader import import_ffcv
from tleg_cli.data.sidecar import BETON, Sidecar, read_sidecar, write_sidecar
from tleg_cli.data.sources import Split
from tleg_cli.errors import DataError

LONGEST_SIDE = 65_500  # pixels: JPEG's limit
_JPEG_TOLERANCE = 24.0  # largest mean difference of an image after JPEG, in levels of 255; a black or shifted one is beyond

Progress = Callable[[str, int, int], None]  # (what, done, of)


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
        _compare(temporary, images, indices, options, progress)
        size = temporary.stat().st_size
    sidecar = Sidecar(
        samples=len(indices),
        classes=tuple(classes),
        max_resolution=options.max_resolution,
        write_mode=options.write_mode,
        quality=options.quality,
        bytes=size,
        source=source,
        skipped=tuple(images.names[index] for index, _ in bad),
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
            raise DataError(f"image {self.images.names[index]} ({width}x{height}) is too large; give --max-resolution")
        if int(height * scale) < 1 or int(width * scale) < 1:
            raise DataError(f"image {self.images.names[index]} ({width}x{height}) vanishes at that resolution")

    def bad(self) -> list[tuple[int, str]]:
        if not self.notes.exists():
            return []
        found = {index: reason for index, reason in map(json.loads, self.notes.read_text().splitlines())}
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
    before = set(multiprocessing.active_children())
    original = ffcv.writer.tqdm, ffcv.writer.sleep
    ffcv.writer.tqdm, ffcv.writer.sleep = _bar(progress), _watch(before)
    try:
        writer.from_indexed_dataset(checked, indices=indices.tolist(), chunksize=50)
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        memory = getattr(writer, "metadata_sm", None)
        if hasattr(memory, "unlink"):
            memory.unlink()
        raise
    finally:
        ffcv.writer.tqdm, ffcv.writer.sleep = original


def _watch(before: set[Any]) -> Callable[[float], None]:
    """A sleep that raises DataError if one of the writer's processes has died."""
    workers: set[Any] = set()

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        workers.update(set(multiprocessing.active_children()) - before)
        dead = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
        if dead:
            raise DataError(f"a writing process ended with code {dead[0]}: the disk or the memory may be full; nothing was kept")

    return sleep


def _bar(progress: Progress) -> Any:
    """What FFCV calls tqdm, reporting to us."""

    class Bar:
        def __init__(self, total: int):
            self.total, self.done = int(total), 0

        def update(self, count: int) -> None:
            self.done += int(count)
            progress("writing", self.done, self.total)

        def close(self) -> None: ...

    return Bar


def _compare(path: Path, images: Split, indices: np.ndarray, options: WriteOptions, progress: Progress) -> None:
    """Decodes every image of the file; a sample of them is compared with the source, pixel by pixel."""
    looked_at = set(np.linspace(0, len(indices) - 1, min(len(indices), 500)).astype(int).tolist())
    for place, pixels, label in _decoded(path, progress):
        if place not in looked_at:
            continue
        image, expected = images[int(indices[place])]
        name = images.names[int(indices[place])]
        wanted = _shrunk(np.asarray(image), options.max_resolution)
        if label != expected or pixels.shape != wanted.shape:
            raise DataError(f"{name} came back with label {label} and shape {pixels.shape}, not {expected} and {wanted.shape}")
        difference = np.abs(pixels.astype(np.int16) - wanted).mean()
        if difference > (_JPEG_TOLERANCE if options.write_mode == "jpg" else 0):
            raise DataError(f"{name} came back {difference:.1f} levels away from what was written")


def _shrunk(pixels: np.ndarray, max_resolution: int | None) -> np.ndarray:
    from ffcv.fields.rgb_image import resizer

    return resizer(pixels, max_resolution)


def _decoded(path: Path, progress: Progress) -> Any:
    """(place, pixels, label) of every image in the file. Raises DataError for one that doesn't decode."""
    from ffcv.libffcv import imdecode
    from ffcv.reader import Reader

    check_header(path)
    reader = Reader(str(path))
    file = np.memmap(path, np.uint8, mode="r")
    order = np.argsort(reader.alloc_table["ptr"])
    starts, sizes = reader.alloc_table["ptr"][order], reader.alloc_table["size"][order]
    images, labels = reader.metadata["f0"], reader.metadata["f1"]
    for place, (field, label) in enumerate(zip(images, labels, strict=True)):
        slot = int(np.searchsorted(starts, field["data_ptr"]))
        if slot >= len(starts) or starts[slot] != field["data_ptr"]:
            raise DataError(f"image {place} of {path} lies nowhere in the file: it is damaged; write it again")
        start, size = int(starts[slot]), int(sizes[slot])
        data = np.ascontiguousarray(file[start : start + size])
        height, width = int(field["height"]), int(field["width"])
        pixels = np.empty((height, width, 3), np.uint8)
        if field["mode"] == 1 and data.size == pixels.size:
            pixels[...] = data.reshape(pixels.shape)
        elif field["mode"] != 0 or imdecode(data, pixels, height, width, height, width, 0, 0, 1, 1, False, False):
            raise DataError(f"image {place} of {path} doesn't decode: it is damaged; write it again")
        if place % 64 == 0 or place == len(images) - 1:
            progress("checking", place + 1, len(images))
        yield place, pixels, int(np.ravel(label)[0])


def check_header(path: Path) -> None:
    """Raises DataError unless the sizes in the header fit the file: FFCV would allocate whatever they say."""
    from ffcv.types import ALLOC_TABLE_TYPE, CURRENT_VERSION, FieldDescType, HeaderType

    size = path.stat().st_size
    if size < HeaderType.itemsize + 2 * FieldDescType.itemsize:
        raise DataError(f"{path} is no .beton file: it has only {size} bytes")
    header = np.fromfile(path, HeaderType, count=1)[0]
    fields = np.fromfile(path, FieldDescType, count=2, offset=HeaderType.itemsize)
    if header["version"] != CURRENT_VERSION or header["num_fields"] != 2 or fields["type_id"].tolist() != [2, 1]:
        raise DataError(f"{path} is no .beton file of images and labels; `tleg prepare` writes such files")
    samples, table = int(header["num_samples"]), int(header["alloc_table_ptr"])
    smallest = HeaderType.itemsize + 2 * FieldDescType.itemsize + samples * 16
    if samples == 0 or not smallest <= table <= size or size - table != samples * ALLOC_TABLE_TYPE.itemsize:
        raise DataError(f"{path} is damaged: its header speaks of {samples} images and a table at {table}, of {size} bytes")


@dataclass(frozen=True)
class BetonReport:
    """What `tleg doctor FILE.beton` found: a file that is whole."""

    file: str
    images: int
    classes: int
    smallest: str  # width x height
    largest: str
    bytes: int


def verify_beton(path: Path, progress: Progress = lambda what, done, of: None) -> BetonReport:
    """Decodes every image of a data file. Raises DataError for the first thing that is wrong."""
    if path.suffix != BETON:
        raise DataError(f"{path} is no {BETON} file")
    sidecar = read_sidecar(path)
    import_ffcv()
    sizes = set()
    count = 0
    for place, pixels, label in _decoded(path, progress):
        if not 0 <= label < len(sidecar.classes):
            raise DataError(f"image {place} of {path} has label {label}, but there are {len(sidecar.classes)} classes")
        sizes.add((pixels.shape[1], pixels.shape[0]))
        count += 1
    if count != sidecar.samples:
        raise DataError(f"{path} holds {count} images, its sidecar says {sidecar.samples}")
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f"{width}x{height}" for width, height in (by_area[0], by_area[-1]))
    return BetonReport(str(path), count, len(sidecar.classes), smallest, largest, sidecar.bytes)
