"""Writes safetensors files with checksums, tensor by tensor: memory stays near what is being written, and equal content is equal bytes."""

from __future__ import annotations

import itertools
import json
import math
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tleg_cli.files import atomic_file
from tleg_cli.weights.open import checksum
from tleg_cli.weights.safetensors_header import ALIGNMENT, CRC_KEY, code_of

_LARGEST_CRC = 2**32 - 1


@dataclass(frozen=True)
class Later:
    """A tensor that is made when it is needed. make: gives it, with this shape and dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], tleg: Mapping[str, Any]) -> None:
    """Writes `path` atomically. tleg: plain values about the file, for its header; NaN is refused with a ValueError.

    Views are written alone, without their storage. Raises TlegError if the system refuses.
    """
    save_later(path, {name: at_once(tensor) for name, tensor in tensors.items()}, tleg)


def at_once(tensor: Tensor) -> Later:
    """A tensor that there is already."""
    return Later(tuple(tensor.shape), tensor.dtype, partial(torch.Tensor.detach, tensor))


def save_later(path: Path, tensors: Mapping[str, Later], tleg: Mapping[str, Any]) -> None:
    """The same of tensors that are made while the file is written, one after the other and without gradients."""
    text = json.dumps(tleg, allow_nan=False)
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))  # so that all are aligned
    sizes = [tensors[name].size for name in order]
    begins = dict(zip(order, itertools.accumulate(sizes, initial=0), strict=False))
    longest = _header(text, tensors, begins, dict.fromkeys(order, _LARGEST_CRC))
    with atomic_file(path) as temporary, temporary.open("r+b") as file:
        start = 8 + len(longest)
        crcs = {name: _write(file.fileno(), start + begins[name], name, tensors[name]) for name in order}
        header = _header(text, tensors, begins, crcs).ljust(len(longest))  # what shorter checksums leave is spaces
        file.write(len(header).to_bytes(8, "little") + header)


def _header(text: str, tensors: Mapping[str, Later], begins: Mapping[str, int], crcs: Mapping[str, int]) -> bytes:
    """JSON that ends with spaces: names with dtype, shape and place. https://github.com/huggingface/safetensors"""
    known = json.dumps({"": zlib.crc32(text.encode()), **crcs})
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", "tleg": text, CRC_KEY: known}}
    for name, begin in begins.items():
        one = tensors[name]
        code = code_of(str(one.dtype).removeprefix("torch."))
        entries[name] = {"dtype": code, "shape": one.shape, "data_offsets": [begin, begin + one.size]}
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return header + b" " * (-len(header) % ALIGNMENT)


def _write(file: int, begin: int, name: str, later: Later) -> int:
    """Puts a tensor's values at their place in an open file; returns their checksum."""
    with torch.no_grad():
        values = later.make().detach().cpu().contiguous()
    if (tuple(values.shape), values.dtype) != (later.shape, later.dtype):
        raise RuntimeError(f"{name} became {values.dtype} {tuple(values.shape)}, not {later.dtype} {later.shape}")
    left = values.reshape(-1).view(torch.uint8).numpy().data if values.numel() else memoryview(b"")
    while left:
        written = os.pwrite(file, left, begin)
        left, begin = left[written:], begin + written
    return checksum(values)


def own_copy(tensor: Tensor) -> Tensor:
    """Contiguous, on the CPU, with a storage of its own: a saved view would take its complete storage along."""
    return tensor.detach().to("cpu", copy=True).contiguous()
