"""The header of a safetensors file: an 8-byte length, then JSON. Checked against the file's length before it is believed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tleg_cli.errors import FileFormatError, first_line
from tleg_cli.weights.header import Header, TensorInfo, plain

MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit: a damaged length must not be believed
# https://github.com/huggingface/safetensors: name -> (torch's name, bytes of one number)
_DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1), "C64": ("complex64", 8),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1),
    "U64": ("uint64", 8), "U32": ("uint32", 4), "U16": ("uint16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip


def read_safetensors_header(path: Path, claimed: int) -> Header:
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
        raise FileFormatError(f"{path} is no readable safetensors file: {first_line(error)}") from None
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
