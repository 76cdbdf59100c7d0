"""The header of any weights file, whatever its suffix: names, shapes, dtypes. Needs no torch and reads no values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tleg_cli.errors import FileFormatError, first_line
from tleg_cli.files import special_file
from tleg_cli.weights.header import LEARNGENE_FORMAT, Header, Place, check_names, check_size, plain, unreadable
from tleg_cli.weights.low_rank import PARTS, with_thetas
from tleg_cli.weights.safetensors_header import read_safetensors_header
from tleg_cli.weights.torch_file import TorchFile, read_torch_file
from tleg_cli.weights.torch_tensors import StoredTensor, stored_tensor
from tleg_cli.weights.weight_sets import choose, common_prefix, kind_of, weight_sets, what_was_found

_MAX_EXTRA = 1000


def read_header(path: Path, which: str = "auto") -> Header:
    """The header of `path`. which: auto, raw or ema, for a checkpoint with two sets of weights.

    Raises FileFormatError for a file that isn't there, is damaged, or holds more than tensors and plain values, ConfigError
    for a set that it doesn't have.
    """
    if not path.is_file():
        raise FileFormatError(_not_a_file(path))
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise FileFormatError(f"can't read {path}: {error.strerror}") from None
    if start[8:] == b"{":  # first: the length before it may begin with any byte
        return _safetensors_header(path, which)
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return _torch_header(path, which)
    raise FileFormatError(f"{path} is neither a safetensors nor a torch file (it begins with {start[:8]!r})")


def _not_a_file(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder, not a file of weights"
    kind = special_file(path.stat().st_mode) if path.exists() else None
    return f"{path} is {kind}, not a file of weights" if kind else f"no file at {path}"


def is_safetensors(path: Path) -> bool:
    """By what the file holds, not by its name: 8 bytes of header length, then `{`."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _safetensors_header(path: Path, which: str) -> Header:
    choose(["raw"], which)
    header = _learngenes(read_safetensors_header(path), path)
    prefix = "" if header.tleg else common_prefix(header.tensors)
    return _without_prefix(header, prefix)


def _learngenes(header: Header, path: Path) -> Header:
    """The same header but for a learngene, whose thetas may be stored as parts."""
    if header.tleg.get("format") != LEARNGENE_FORMAT:
        return header
    try:
        return with_thetas(header)
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from None


def _without_prefix(header: Header, prefix: str) -> Header:
    if not prefix:
        return header
    tensors = {name.removeprefix(prefix): info for name, info in header.tensors.items()}
    places = {name.removeprefix(prefix): place for name, place in header.places.items()}
    return Header(header.container, tensors, header.tleg, header.extra, places, prefix=prefix)


def _torch_header(path: Path, which: str) -> Header:
    file = read_torch_file(path)
    content = file.content
    if isinstance(content, dict) and content.get("format") == LEARNGENE_FORMAT:
        choose(["raw"], which)
        tleg = plain({key: value for key, value in content.items() if key not in ("theta", "shared", *PARTS)})
        tensors, places = _stored(_learngene_table(content, path), file, path)
        return _learngenes(Header("torch", tensors, tleg, {}, places), path)
    sets = weight_sets(content) if isinstance(content, dict) else {}
    if not sets:
        raise FileFormatError(
            f"{path} holds no state dict (tensors by name, alone or under a key such as 'model' or 'state_dict'); "
            f"found {what_was_found(content)}"
        )
    which = choose(sets, which)
    table = sets[which].table
    prefix = common_prefix(table)
    tensors, places = _stored({name.removeprefix(prefix): value for name, value in table.items()}, file, path)
    extra = {} if table is content else {str(plain(k)): kind_of(v) for k, v in list(content.items())[:_MAX_EXTRA]}
    return Header(
        "torch", tensors, {}, extra, places, which, tuple(sorted(sets, reverse=True)), sets[which].place, prefix
    )


def _learngene_table(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`theta/NAME`, `shared/NAME` and the parts of thetas, as they are called in a .safetensors."""
    found: dict[str, Any] = {}
    for part in ("theta", "shared", *(part for part in PARTS if part in content)):
        table = content.get(part)
        if not isinstance(table, dict) or not all(
            isinstance(name, str) and stored_tensor(value) is not None for name, value in table.items()
        ):
            raise FileFormatError(f"{path}: {part} is not a table of tensors")
        found |= {f"{part}/{name}": value for name, value in table.items()}
    return found


def _stored(table: Mapping[str, Any], file: TorchFile, path: Path) -> tuple[dict[str, Any], dict[str, Place]]:
    """The tensors of a table and their places. Raises FileFormatError that names one that has no plain values."""
    tensors, places, item_sizes = {}, {}, {}
    try:
        check_names(table)
        for name, value in table.items():
            tensor = stored_tensor(value)
            if not isinstance(tensor, StoredTensor):
                raise ValueError(f"tensor {name[:200]!r} is {tensor}; save dense tensors with values")
            span = file.span(tensor.key)
            if tensor.elements * tensor.item_size > span.size:
                raise ValueError(f"tensor {name[:200]!r} is larger than its storage")
            tensors[name] = tensor.info
            item_sizes[tensor.info.dtype] = tensor.item_size
            places[name] = Place(span.begin, span.size, span.crc, tensor.offset, tensor.stride)
        check_size(tensors, item_sizes, path.stat().st_size)
    except KeyError as error:
        raise unreadable(path, "torch", f"it has no storage {error}") from None
    except (ValueError, OSError) as error:
        raise unreadable(path, "torch", first_line(error)) from None
    return tensors, places
