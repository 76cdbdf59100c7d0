"""train.json and val.json beside the .beton files: what they hold and how they were made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tleg_cli.data.class_names import differences
from tleg_cli.errors import DataError
from tleg_cli.files import write_text

BETON = ".beton"
SPLITS = ("train", "val")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Sidecar:
    """bytes: of the .beton file, so that a truncated or exchanged one is noticed without reading it."""

    samples: int
    classes: tuple[str, ...]
    max_resolution: int | None  # pixels of the longer side; None: as they were
    write_mode: str  # "jpg" or "raw"
    quality: int  # of JPEG
    bytes: int
    source: str
    skipped: tuple[str, ...] = ()  # files that could not be read


def write_sidecar(beton: Path, sidecar: Sidecar) -> None:
    """Writes it beside `beton`, atomically."""
    write_text(_beside(beton), json.dumps({"format_version": FORMAT_VERSION, **asdict(sidecar)}, indent=1) + "\n")


def read_sidecar(beton: Path) -> Sidecar:
    """The sidecar of `beton`. Raises DataError if either is missing, unreadable or of another size than recorded."""
    path = _beside(beton)
    if not beton.is_file():
        raise DataError(f"no data file at {beton}; `tleg prepare SOURCE {beton.parent}` writes both splits")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format_version") != FORMAT_VERSION:
            raise DataError(f"{path} is of another version; write the data again with `tleg prepare`")
        values |= {key: tuple(str(item) for item in values[key]) for key in ("classes", "skipped")}
        sidecar = Sidecar(**values)
    except DataError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} can't be read ({error}); write the data again with `tleg prepare`") from None
    if beton.stat().st_size != sidecar.bytes:
        raise DataError(f"{beton} has {beton.stat().st_size} bytes, but {sidecar.bytes} were written; write it again")
    return sidecar


def read_pair(folder: Path) -> tuple[Sidecar, Sidecar]:
    """Train and val of a folder. Raises DataError unless they were written alike, with the same classes."""
    train, val = (read_sidecar(folder / f"{split}{BETON}") for split in SPLITS)
    for what in ("classes", "max_resolution", "write_mode", "quality"):
        ours, theirs = getattr(train, what), getattr(val, what)
        if ours != theirs:
            shown = _classes_that_differ(ours, theirs) if what == "classes" else f"{ours!r} and {theirs!r}"
            raise DataError(f"{folder}: train and val differ in {what} ({shown}); write both with one `tleg prepare`")
    return train, val


def _classes_that_differ(train: tuple[str, ...], val: tuple[str, ...]) -> str:
    """Names them, three of each split; the same names in another order are other labels too."""
    only = [
        f"{', '.join(map(repr, names[:3]))}{f' and {len(names) - 3} more' if len(names) > 3 else ''} only in {where}"
        for names, where in differences(train, val)
    ]
    if not only and len(train) != len(val):
        return f"{len(train)} and {len(val)}, some of the same name"
    if not only:
        label = next(label for label, (ours, theirs) in enumerate(zip(train, val, strict=True)) if ours != theirs)
        return f"in another order: class {label} is {train[label]!r} in train and {val[label]!r} in val"
    return "; ".join(only)


def _beside(beton: Path) -> Path:
    return beton.with_suffix(".json")
