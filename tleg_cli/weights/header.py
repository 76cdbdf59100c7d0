"""What a weights file holds by its header alone: names, shapes, dtypes. Needs no torch and reads no weight.

For safetensors (an 8-byte length, then JSON) and for torch's zip archives, see torch_header.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
