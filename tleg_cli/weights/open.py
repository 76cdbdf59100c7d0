"""One door to the tensors of any weights file, read one at a time: memory stays near what is looked at."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tleg_cli.errors import FileFormatError, first_line
from tleg_cli.weights.header import Header
from tleg_cli.weights.read_header import read_header
from tleg_cli.weights.torch_header import find_weights, header_of

Get = Callable[[str], Tensor]
# plain values that run nothing: DeiT, timm and the reference save their options so
_ALLOWED = (argparse.Namespace, pathlib.PosixPath)


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[tuple[Header, Get]]:
    """The header of a safetensors or torch file, and a function that gives one tensor by its name in the header.

    Raises FileFormatError for a file that can't be read; nothing in it is executed.
    """
    header = read_header(path)
    if header is not None and header.container == "safetensors":
        with _open_safetensors(path) as file:
            yield header, lambda name: _get(file, name, path)
        return
    content = _load(path, mapped=header is not None)
    table = find_weights(content, _dense, path)
    yield header_of(content, path), table.__getitem__


def _dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized


def _get(file: safe_open, name: str, path: Path) -> Tensor:
    try:
        return file.get_tensor(name)
    except Exception as error:  # a dtype that this torch doesn't have
        raise FileFormatError(f"{path}: {name} can't be read: {first_line(error)}") from None


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[safe_open]:
    try:
        file = safe_open(path, framework="pt")
    except Exception as error:  # SafetensorError is a plain Exception
        raise FileFormatError(f"{path} is no readable safetensors file: {first_line(error)}") from None
    with file:
        yield file


def _load(path: Path, *, mapped: bool) -> object:
    """torch's own guarded loader."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_ALLOWED)):
            warnings.simplefilter("ignore")  # of an unusual pickle: it is read, or refused in our words
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # damaged pickles and archives raise whatever they please
        text = str(error)
        code = "Unsupported" in text or "not an allowed" in text
        what = "it holds more than tensors and plain values" if code else "it is damaged, or of another kind"
        raise FileFormatError(f"{path} is no readable torch file: {what}; nothing was run") from None
