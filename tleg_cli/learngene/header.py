"""What a weights file holds by its header alone: names, shapes, dtypes. Needs no torch and reads no weight.

For safetensors (an 8-byte length, then JSON) and for torch's zip archives, see torch_header.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tleg_cli.errors import FileFormatError

MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit: a damaged length must not be believed
# https://github.com/huggingface/safetensors: name -> (torch's name, bytes of one number)
_DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1), "C64": ("complex64", 8),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1),
    "U64": ("uint64", 8), "U32": ("uint32", 4), "U16": ("uint16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor without its numbers. dtype: torch's name for it, as in `bfloat16`."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))


@dataclass(frozen=True)
class Header:
    """tensors: by name, in a learngene `theta/NAME` and `shared/NAME`. tleg: what tleg wrote about the file, or empty.

    container: "safetensors" or "torch". extra: what else a torch file holds at its top, as `name -> kind`.
    """

    container: str
    tensors: Mapping[str, TensorInfo]
    tleg: Mapping[str, Any]
    extra: Mapping[str, str]


def read_header(path: Path) -> Header | None:
    """The header of `path`; None for a torch file of the old kind (before 1.6), which only torch can read.

    Raises FileFormatError for a file that isn't there, is damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileFormatError(f"no file at {path}{': that is a folder' if path.is_dir() else ''}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise FileFormatError(f"can't read {path}: {error.strerror}") from None
    if start[:4] == b"PK\x03\x04":
        from tleg_cli.learngene.torch_header import read_torch_header

        return read_torch_header(path)
    if start[8:] == b"{":
        return _safetensors(path, int.from_bytes(start[:8], "little"))
    if start[:1] == b"\x80":  # a bare pickle: torch's old format
        return None
    raise FileFormatError(f"{path} is neither a safetensors nor a torch file (it begins with {start[:8]!r})")


def _safetensors(path: Path, claimed: int) -> Header:
    available = path.stat().st_size - 8
    if claimed > min(available, MAX_HEADER_BYTES):
        raise FileFormatError(
            f"{path} is no readable safetensors file: its header claims {claimed:,} bytes, "
            f"but {f'{available:,} are there' if claimed > available else f'{MAX_HEADER_BYTES:,} are allowed'}"
        )
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(claimed)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        tensors = {name: _tensor(name, entry, available - claimed) for name, entry in header.items()}
        tleg = json.loads(metadata["tleg"]) if "tleg" in metadata else {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path} is no readable safetensors file: {str(error).splitlines()[0][:200]}") from None
    return Header("safetensors", tensors, plain(tleg) if isinstance(tleg, dict) else {}, {})


def _tensor(name: str, entry: Mapping[str, Any], available: int) -> TensorInfo:
    """Raises ValueError unless shape, dtype and place agree with each other and with the file's length."""
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"tensor {name!r} has no sane shape or place")
    dtype, size = _DTYPES.get(entry["dtype"], (str(entry["dtype"]).lower(), None))
    if not begin <= end <= available or (size is not None and end - begin != math.prod(shape) * size):
        raise ValueError(f"tensor {name!r} of shape {list(shape)} can't lie at bytes {begin} to {end} of {available}")
    return TensorInfo(shape, dtype)


def plain(value: Any, deep: int = 16) -> Any:
    """`value` as JSON can say it: what a stranger's file holds beside its tensors is shown, and never trusted.

    NaN and Inf become None, other objects the name of their type; nothing is followed deeper than `deep` levels.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if deep and isinstance(value, dict):
        return {str(key): plain(inner, deep - 1) for key, inner in value.items()}
    if deep and isinstance(value, list | tuple):
        return [plain(inner, deep - 1) for inner in value]
    return type(value).__name__
