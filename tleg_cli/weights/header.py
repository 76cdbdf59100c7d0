"""What a weights file contains, from its header alone: names, shapes, dtypes and where the values are. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tleg_cli.errors import FileFormatError

LEARNGENE_FORMAT = "tleg-learngene"  # the value of `format` in a learngene file
MAX_TENSORS = 50_000  # ten times what the largest published networks have
MAX_NAME_CHARACTERS = 1000
MAX_DIMENSIONS = 25  # torch prints and copies no more
MAX_PLAIN_VALUES = 200_000  # ImageNet-21k has 21,841 class names
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class TensorInfo:
    """One tensor without its values. dtype: torch's name for it, as in `bfloat16`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))


@dataclass(frozen=True)
class Place:
    """Where a tensor's values are: `size` bytes from `begin` hold its storage; offset and stride count elements in it.

    crc: the CRC-32 of these bytes, None if the file doesn't have one.
    """

    begin: int
    size: int
    crc: int | None
    offset: int
    stride: tuple[int, ...] | None  # None: contiguous


@dataclass(frozen=True)
class Factors:
    """What a theta is made from that the file doesn't have as it is: see low_rank.py.

    parts: mean, left and right, by their keys in the file.
    """

    parts: Mapping[str, TensorInfo]
    ranks: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many values the file has of it."""
        return sum(info.numel for info in self.parts.values())


@dataclass(frozen=True)
class Header:
    """tensors: by name, in a learngene `theta/NAME` and `shared/NAME`. tleg: what tleg wrote about the file, or empty.

    container: "safetensors" or "torch". extra: what else a torch file has at its top, as `name -> kind`.
    which: the set of weights that was chosen of those `available`, "raw" or "ema", found under the key `place`
    ("" is the top of the file). prefix: what all names began with in the file, and don't here. factors: of the tensors that are made
    from others of the file.
    """

    container: str
    tensors: Mapping[str, TensorInfo]
    tleg: Mapping[str, Any]
    extra: Mapping[str, str]
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    which: str = "raw"
    available: tuple[str, ...] = ("raw",)
    place: str = ""
    prefix: str = ""
    factors: Mapping[str, Factors] = field(default_factory=dict)

    def stored(self, name: str) -> int:
        """How many values the file has of a tensor."""
        return self.factors[name].numel if name in self.factors else self.tensors[name].numel

    def choice(self) -> str:
        """For a report: which weights these are, or "" if there was nothing to choose and nothing was renamed."""
        words = []
        if len(self.available) > 1:
            other = "raw" if self.which == "ema" else "ema"
            names = {"raw": "the raw weights", "ema": "the moving average (EMA)"}
            words.append(f"{names[self.which]} under {self.place!r}; the file also has {names[other]}")
        if self.prefix:
            words.append(f"the prefix {self.prefix!r} was removed from all names")
        return "; ".join(words)


def check_size(tensors: Mapping[str, TensorInfo], item_sizes: Mapping[str, int], file_bytes: int) -> None:
    """Raises ValueError for tensors that would take far more memory than the file has bytes."""
    claimed = sum(info.numel * item_sizes.get(info.dtype, 1) for info in tensors.values())
    if claimed > 4 * file_bytes + _SPARE_BYTES:
        raise ValueError(f"its tensors claim {claimed:,} bytes, but the file has {file_bytes:,}")


def check_names(names: Mapping[str, Any]) -> None:
    """Raises ValueError for too many names, and for one that can't be written as UTF-8."""
    if len(names) > MAX_TENSORS:
        raise ValueError(f"it has {len(names):,} tensors; at most {MAX_TENSORS:,} are read")
    for name in names:
        if not _is_unicode(name):
            raise ValueError(f"the tensor name {ascii(name)[:80]} is not valid Unicode")
        if len(name) > MAX_NAME_CHARACTERS:
            raise ValueError(
                f"the tensor name {name[:40]!r}... has {len(name):,} characters; at most {MAX_NAME_CHARACTERS:,} are read"
            )


def unreadable(path: Any, container: str, reason: str) -> FileFormatError:
    """The one wording for a file that can't be used as it is."""
    return FileFormatError(f"{path} can't be read as a {container} file: {reason}")


def plain(value: Any) -> Any:
    """`value` as JSON can hold it, for values from someone else's file, which are shown and never trusted.

    NaN, Inf and integers over 64 bits become None, other objects the name of their type. Nothing is followed deeper than
    16 levels, and after MAX_PLAIN_VALUES values the rest is left out: a pickle can hold the same list a billion times.
    """
    return _plain(value, 16, [MAX_PLAIN_VALUES])


def _plain(value: Any, deep: int, left: list[int]) -> Any:
    left[0] -= 1
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, str):
        return value if _is_unicode(value) else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if deep and isinstance(value, dict):
        items = ((_key(key), _plain(inner, deep - 1, left)) for key, inner in value.items() if left[0] > 0)
        return dict(items)
    if deep and isinstance(value, list | tuple):
        return [_plain(inner, deep - 1, left) for inner in value if left[0] > 0]
    return type(value).__name__


def _key(key: Any) -> str:
    return str(plain(key)) if isinstance(key, str | int | float) else type(key).__name__


def _is_unicode(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "ignore").decode() == text
