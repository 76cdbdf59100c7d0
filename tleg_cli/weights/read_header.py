"""The header of any weights file, by what it begins with: names, shapes, dtypes. Needs no torch and reads no weight."""

from __future__ import annotations

from pathlib import Path

from tleg_cli.errors import FileFormatError
from tleg_cli.weights.header import Header
from tleg_cli.weights.safetensors_header import read_safetensors_header
from tleg_cli.weights.torch_header import read_torch_header


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
        return read_torch_header(path)
    if start[8:] == b"{":
        return read_safetensors_header(path, int.from_bytes(start[:8], "little"))
    if start[:1] == b"\x80":  # a bare pickle: torch's old format
        return None
    raise FileFormatError(f"{path} is neither a safetensors nor a torch file (it begins with {start[:8]!r})")
