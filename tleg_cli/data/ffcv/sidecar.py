"""train.json and val.json next to the .beton files: what they hold, how they were made, and from which source files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tleg_cli.data.class_names import differences
from tleg_cli.errors import DataError
from tleg_cli.files import open_regular, write_text

BETON = ".beton"
SPLITS = ("train", "val")
FORMAT_VERSION = 2
_READABLE = (1, 2)  # version 1 knew nothing of its source files
_LARGEST = 1 << 26  # bytes of a sidecar: room for the names of a million skipped images


@dataclass(frozen=True)
class Sidecar:
    """bytes: of the .beton file, so that a truncated or exchanged one is noticed without reading it.

    listing, times: see fingerprint.py. pair: the same in train.json and val.json of one `tleg prepare`.
    """

    samples: int
    classes: tuple[str, ...]
    max_resolution: int | None  # pixels of the longer side; None: not shrunk
    write_mode: str  # "jpg" or "raw"
    quality: int  # of JPEG
    bytes: int
    source: str
    skipped: tuple[str, ...] = ()  # images that could not be read, and why
    exif_orientation: bool = False  # whether photographs were turned upright as their EXIF data say
    mode_reason: str = ""  # why write_mode was chosen
    compared: int = 0  # images that were read a second time and compared with the file
    listing: str | None = None
    times: str | None = None
    pair: str | None = None


def write_sidecar(beton: Path, sidecar: Sidecar) -> None:
    """Writes it next to `beton`, atomically."""
    write_text(sidecar_path(beton), json.dumps({"format_version": FORMAT_VERSION, **asdict(sidecar)}, indent=1) + "\n")


def read_sidecar(beton: Path) -> Sidecar:
    """The sidecar of `beton`. Raises DataError if either is missing or unreadable, or `beton` has another size than recorded."""
    found = _size(beton)
    if found is None:
        raise DataError(f"no data file at {beton}; `tleg prepare SOURCE {beton.parent}` writes both splits")
    path = sidecar_path(beton)
    try:
        with open_regular(path) as file:
            text = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    if len(text) > _LARGEST:
        raise _unreadable(path, f"it has more than {_LARGEST:,} bytes")
    sidecar = _parse(path, text)
    if found != sidecar.bytes:
        raise DataError(
            f"{beton} has {found} bytes, but {sidecar.bytes} were written; write it again with `tleg prepare --force`"
        )
    return sidecar


def sidecar_path(beton: Path) -> Path:
    """Where the sidecar of `beton` is."""
    return beton.with_suffix(".json")


def _size(beton: Path) -> int | None:
    """Bytes of a data file, None if there is none. Raises DataError for anything that isn't a regular file."""
    try:
        with open_regular(beton) as file:
            return file.seek(0, 2)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"can't read {beton}: {getattr(error, 'strerror', None) or error}") from None


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(f"can't read {path} ({reason}); write the data again with `tleg prepare --force`")


def _parse(path: Path, text: bytes) -> Sidecar:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _unreadable(path, f"not JSON: {reason}") from None
    if not isinstance(values, dict):
        raise _unreadable(path, "not a JSON object")
    version = values.pop("format_version", None)
    if type(version) is not int or version not in _READABLE:
        raise DataError(
            f"{path} has format version {_shown(version)}, this tleg reads {' and '.join(map(str, _READABLE))}; "
            "write the data again with `tleg prepare --force`"
        )
    return _checked(path, values)


def _checked(path: Path, values: dict[str, Any]) -> Sidecar:
    """Each value has the type that its field states: what is wrong here would otherwise be found in the middle of a run."""
    unknown = sorted(values.keys() - _KINDS.keys())
    missing = [name for name in _REQUIRED if name not in values]
    if unknown or missing:
        what = f"unknown key {_shown(unknown[0])}" if unknown else f"no key {missing[0]!r}"
        raise _unreadable(path, what)
    for name, value in values.items():
        wanted, fits = _KINDS[name]
        if not fits(value):
            raise _unreadable(path, f"{name} is {_shown(value)}, not {wanted}")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    sidecar = Sidecar(**{**values, **lists})
    if sidecar.samples < 1 or sidecar.bytes < 1 or not sidecar.classes or sidecar.write_mode not in ("jpg", "raw"):
        raise _unreadable(path, "it doesn't describe a .beton file")
    return sidecar


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _or_null(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


_COUNT, _TEXT, _LIST = ("a count", _is_count), ("a text", _is_text), ("a list of texts", _is_list)
_HASH = "a text or null", _or_null(_is_text)
_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "samples": _COUNT,
    "classes": _LIST,
    "max_resolution": ("a count or null", _or_null(_is_count)),
    "write_mode": _TEXT,
    "quality": _COUNT,
    "bytes": _COUNT,
    "source": _TEXT,
    "skipped": _LIST,
    "exif_orientation": ("true or false", lambda value: isinstance(value, bool)),
    "mode_reason": _TEXT,
    "compared": _COUNT,
    "listing": _HASH,
    "times": _HASH,
    "pair": _HASH,
}
_REQUIRED = ("samples", "classes", "max_resolution", "write_mode", "quality", "bytes", "source")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def read_pair(folder: Path) -> tuple[Sidecar, Sidecar]:
    """Train and val of a folder. Raises DataError unless they were written alike, with the same classes."""
    train, val = (read_sidecar(folder / f"{split}{BETON}") for split in SPLITS)
    for what in ("classes", "max_resolution", "write_mode", "quality", "exif_orientation"):
        ours, theirs = getattr(train, what), getattr(val, what)
        if ours != theirs:
            shown = _classes_that_differ(ours, theirs) if what == "classes" else f"{ours!r} and {theirs!r}"
            raise DataError(f"{folder}: train and val differ in {what} ({shown}); write both with one `tleg prepare`")
    if train.pair != val.pair:
        raise DataError(
            f"{folder}: train and val come from different calls of `tleg prepare`, or from different sources; "
            "write both again with `tleg prepare --force`"
        )
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
