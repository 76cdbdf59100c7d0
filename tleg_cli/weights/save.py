"""Writes safetensors files with checksums, so that damage is noticed when they are read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tleg_cli.files import atomic_file
from tleg_cli.weights.open import checksum
from tleg_cli.weights.safetensors_header import CRC_KEY


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], tleg: Mapping[str, Any]) -> None:
    """Writes `path` atomically. tleg: plain values about the file, for its header; NaN is refused with a ValueError.

    Views are written alone, without their storage. Raises TlegError if the system refuses.
    """
    own = {name: own_copy(tensor) for name, tensor in tensors.items()}
    text = json.dumps(tleg, allow_nan=False)
    crcs = {"": zlib.crc32(text.encode())} | {name: checksum(tensor) for name, tensor in own.items()}
    with atomic_file(path) as temporary:
        save_file(own, temporary, metadata={"format": "pt", "tleg": text, CRC_KEY: json.dumps(crcs)})


def own_copy(tensor: Tensor) -> Tensor:
    """Contiguous, on the CPU, with a storage of its own: a saved view would take its complete storage along."""
    return tensor.detach().to("cpu", copy=True).contiguous()
