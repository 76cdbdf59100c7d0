"""Which images a run is trained on, as a short record for run.json: how many, and a hash of names and labels. No image is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from tleg_cli.data.batches import Loader
from tleg_cli.data.ffcv.sidecar import SPLITS, Sidecar, read_pair
from tleg_cli.data.open import is_beton_folder
from tleg_cli.hookspecs import Split

# what decides the images in a .beton file; where they came from and when doesn't
_OF_SIDECAR = (
    "samples", "classes", "max_resolution", "write_mode", "quality", "bytes", "skipped", "exif_orientation", "listing"
)  # fmt: skip


class SplitRecord(TypedDict, total=False):
    """images: how many. sha256: of names and labels in their order; left out for a split that lists neither."""

    images: int
    sha256: str


def images_record(path: str, train: Loader, val: Loader) -> dict[str, SplitRecord]:
    """Of both splits of `--data path`. train, val: its opened loaders, so that no folder is listed a second time."""
    if is_beton_folder(path):
        return {split: of_sidecar(one) for split, one in zip(SPLITS, read_pair(Path(path)), strict=True)}
    splits: list[Any] = [getattr(loader, "views", loader) for loader in (train, val)]
    return {name: of_split(one.split) for name, one in zip(SPLITS, splits, strict=True)}


def of_split(split: Split) -> SplitRecord:
    """Of a folder, tars, arrays in memory or timm's data sets. A plugin's split is known by its number of images only."""
    record = SplitRecord(images=len(split))
    digest, parts = hashlib.sha256(), 0
    for part in _names_and_labels(split):
        digest.update(part)
        parts += 1
    if parts:
        record["sha256"] = digest.hexdigest()
    return record


def of_sidecar(sidecar: Sidecar) -> SplitRecord:
    """Of a file that `tleg prepare` wrote."""
    facts = {name: getattr(sidecar, name, None) for name in _OF_SIDECAR}
    text = json.dumps({name: value for name, value in facts.items() if value is not None}, sort_keys=True)
    return SplitRecord(images=sidecar.samples, sha256=hashlib.sha256(text.encode()).hexdigest())


def _names_and_labels(split: Split) -> Iterable[bytes]:
    for part in (getattr(split, "listing", None), split):
        for name in ("files", "paths", "labels"):
            array = getattr(part, name, None)
            if isinstance(array, np.ndarray):
                yield f"{name} {array.dtype} {array.shape} ".encode()
                yield np.ascontiguousarray(array).tobytes()
    samples: Any = getattr(getattr(getattr(split, "dataset", None), "reader", None), "samples", None)
    for sample in samples if isinstance(samples, list | tuple) else ():
        yield f"{_name_and_label(sample)}\n".encode("utf-8", "surrogateescape")


def _name_and_label(sample: Any) -> str:
    """(file or member of a tar, label) of a reader of timm's."""
    if isinstance(sample, list | tuple) and len(sample) >= 2:
        return f"{getattr(sample[0], 'name', sample[0])} {sample[1]}"
    return str(sample)
