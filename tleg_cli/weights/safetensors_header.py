"""The header of a safetensors file: an 8-byte length, then JSON. Checked against the file's length before it is believed."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tleg_cli.errors import first_line
from tleg_cli.weights.header import (
    MAX_DIMENSIONS,
    MAX_TENSORS,
    Header,
    Place,
    TensorInfo,
    check_names,
    check_size,
    plain,
    unreadable,
)

MAX_HEADER_BYTES = 25_000_000  # 50,000 tensors take a fifth of it
MAX_TLEG_BYTES = 10_000_000
_MAX_MARKS = 20 * MAX_TENSORS  # quotes and commas, counted before the JSON is parsed; a tensor takes about ten
ALIGNMENT = 8  # bytes: the header ends at a multiple of it
CRC_KEY = "tleg_crc32"  # in the metadata: {tensor name: CRC-32 of its bytes}, and of the tleg text under ""
# https://github.com/huggingface/safetensors: name -> (torch's name, bytes of one element)
_DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1), "F8_E8M0": ("float8_e8m0fnu", 1), "C64": ("complex64", 8),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1),
    "U64": ("uint64", 8), "U32": ("uint32", 4), "U16": ("uint16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip


def code_of(dtype: str) -> str:
    """What the format calls torch's `dtype`, as in F32 for float32. Raises ValueError if it has no such values."""
    for code, (name, _) in _DTYPES.items():
        if name == dtype:
            return code
    raise ValueError(f"safetensors files can't hold {dtype}")


def read_safetensors_header(path: Path) -> Header:
    """Raises FileFormatError for a header that is damaged, contradicts itself or is larger than any network needs."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, MAX_HEADER_BYTES):
                limit = f"{size - 8:,} are there" if length > size - 8 else f"at most {MAX_HEADER_BYTES:,} are read"
                raise ValueError(f"its header claims {length:,} bytes, but {limit}")
            text = file.read(length)
        if max(text.count(mark) for mark in (b'"', b",", b"[", b"{")) > _MAX_MARKS:
            raise ValueError(f"its header has too many entries; at most {MAX_TENSORS:,} tensors are read")
        return _parsed(text, begin=8 + length, size=size)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, OSError) as error:
        raise unreadable(path, "safetensors", first_line(error)) from None


def _parsed(text: bytes, begin: int, size: int) -> Header:
    entries = json.loads(text, object_pairs_hook=_without_duplicates)
    metadata = entries.pop("__metadata__", {})
    check_names(entries)
    crcs = _crcs(metadata, entries)
    tensors, places = {}, {}
    for name, entry in entries.items():
        tensors[name], (first, last) = _tensor(name, entry, size - begin)
        places[name] = Place(begin + first, last - first, crcs.get(name), 0, None)
    check_size(tensors, dict(_DTYPES.values()), size)
    return Header("safetensors", tensors, _tleg(metadata, crcs), {}, places)


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"its header has two entries {key[:80]!r}")
        found[key] = value
    return found


def _tensor(name: str, entry: Mapping[str, Any], available: int) -> tuple[TensorInfo, tuple[int, int]]:
    """Raises ValueError unless shape, dtype and place agree with each other and with the file's length."""
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    whole = all(type(value) is int and 0 <= value < 2**48 for value in (*shape[: MAX_DIMENSIONS + 1], begin, end))
    if not whole or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"tensor {name[:200]!r} has no valid shape or place")
    dtype, size = _DTYPES.get(entry["dtype"], (str(entry["dtype"])[:20].lower(), None))
    if not begin <= end <= available or (size is not None and end - begin != math.prod(shape) * size):
        raise ValueError(
            f"tensor {name[:200]!r} of shape {list(shape)} can't be at bytes {begin} to {end} of {available}"
        )
    return TensorInfo(shape, dtype), (begin, end)


def _crcs(metadata: Mapping[str, str], names: Mapping[str, Any]) -> dict[str, int]:
    """What tleg wrote about its own file; empty for files of others and for those written before it did."""
    if CRC_KEY not in metadata:
        return {}
    crcs = json.loads(metadata[CRC_KEY])
    if set(crcs) - {""} != set(names) or not all(type(value) is int for value in crcs.values()):
        raise ValueError("the names of its tensors are not those that were written: the file is damaged")
    return dict(crcs)


def _tleg(metadata: Mapping[str, str], crcs: Mapping[str, int]) -> dict[str, Any]:
    text = metadata.get("tleg", "")
    if not text:
        return {}
    if len(text) > MAX_TLEG_BYTES:
        raise ValueError(f"its metadata has {len(text):,} bytes; at most {MAX_TLEG_BYTES:,} are read")
    if "" in crcs and zlib.crc32(text.encode()) != crcs[""]:
        raise ValueError("its metadata is not what was written: the file is damaged")
    tleg = plain(json.loads(text))
    return tleg if isinstance(tleg, dict) else {}
