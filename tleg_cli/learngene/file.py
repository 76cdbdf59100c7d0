"""learngene.pt and learngene.safetensors: tensors and plain metadata. Never a pickle with code, never half a file."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tleg_cli.errors import ConfigError, FileFormatError, first_line
from tleg_cli.files import atomic_file
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.gene import Learngene, checked_metadata, metadata_values

FORMAT = "tleg-learngene"
FORMAT_VERSION = 1
SAFETENSORS = ".safetensors"
SUFFIXES = (".pt", ".pth", SAFETENSORS)
_HEADER_FIELDS = {"format", "format_version", "basis", "stages", "metadata"}
_MAX_METADATA_BYTES = 10_000_000


def write_learngene(learngene: Learngene, path: Path) -> None:
    """Writes `path`, whose suffix chooses the format (.pt or .safetensors), atomically.

    Raises FileFormatError for another suffix, TlegError where the system refuses.
    """
    if path.suffix not in SUFFIXES:
        raise FileFormatError(
            f"{path}: a learngene is written as {' or '.join(SUFFIXES)}, not {path.suffix or 'without suffix'}"
        )
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "basis": learngene.basis.name,
        "stages": list(learngene.stages),
        "metadata": _plain(metadata_values(learngene.metadata)),
    }
    theta, shared = _detached(learngene.theta), _detached(learngene.shared)
    with atomic_file(path) as temporary:
        if path.suffix == SAFETENSORS:
            tensors = {f"theta/{name}": tensor for name, tensor in theta.items()}
            tensors |= {f"shared/{name}": tensor for name, tensor in shared.items()}
            save_file(tensors, temporary, metadata={"tleg": json.dumps(header, allow_nan=False)})
        else:
            torch.save({**header, "theta": theta, "shared": shared}, temporary)


def read_learngene(path: Path, bases: Iterable[Basis] = ()) -> Learngene:
    """The learngene of a file, on the CPU. `bases`: more than the built-in ones.

    Raises FileFormatError for anything that isn't a learngene which this version understands.
    """
    if not path.is_file():
        raise FileFormatError(f"no learngene at {path}{': that is a folder' if path.is_dir() else ''}")
    header, theta, shared = (_read_safetensors if is_safetensors(path) else _read_torch)(path)
    _check_header(header, path)
    try:
        return Learngene(
            theta=theta,
            shared=shared,
            stages=tuple(header["stages"]),
            basis=get_basis(header["basis"], bases),
            metadata=checked_metadata(header["metadata"]),
        )
    except (FileFormatError, ConfigError) as error:
        raise FileFormatError(f"{path}: {error}") from None


def is_safetensors(path: Path) -> bool:
    """By what the file holds, not by its name: 8 bytes of header length, then `{`."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def load_tensors(path: Path, allowed: Sequence[type] = ()) -> Any:
    """What a torch file holds: tensors, plain values and instances of `allowed`.

    Raises FileFormatError; nothing in the file is executed.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.simplefilter("ignore")  # of an unusual pickle: it is read, or refused in our words
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles and archives raise whatever they please
        raise FileFormatError(f"{path} is no readable torch file: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """In our words where torch would advise to load the file without its guard."""
    text = str(error).strip() or type(error).__name__
    if re.search("unsupported (global|class)|not an allowed global", text, re.IGNORECASE):
        named = re.search(r"GLOBAL ([\w.]+)", text)
        return f"it holds more than tensors and plain values{f' ({named[1]})' if named else ''}, which might run code"
    if text.startswith("Weights only load failed"):
        return "it is damaged, or of another kind"
    return first_line(error)


def _read_torch(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        _no_learngene(path)
    header = {key: value for key, value in content.items() if key not in ("theta", "shared")}
    return header, _tensors(content, "theta", path), _tensors(content, "shared", path)


def _tensors(content: Mapping[str, Any], part: str, path: Path) -> dict[str, Tensor]:
    tensors = content.get(part)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise FileFormatError(f"{path}: {part} is no table of tensors")
    return tensors


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("tleg", "")
            header = json.loads(text) if 0 < len(text) < _MAX_METADATA_BYTES else None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except Exception as error:  # SafetensorError is a plain Exception; a damaged file raises others too
        raise FileFormatError(f"{path} is no readable safetensors file: {first_line(error)}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        _no_learngene(path)
    parts: dict[str, dict[str, Tensor]] = {"theta": {}, "shared": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part not in parts:
            raise FileFormatError(f"{path}: tensor {key!r} belongs to no part of a learngene")
        parts[part][name] = tensor
    return header, parts["theta"], parts["shared"]


def _no_learngene(path: Path) -> NoReturn:
    raise FileFormatError(f"{path} is no learngene; `tleg inspect {path}` says what it is")


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise FileFormatError(
            f"{path} has format version {version!r}; this tleg reads {FORMAT_VERSION}: use the tleg that wrote it"
        )
    if set(header) != _HEADER_FIELDS:
        odd = ", ".join(sorted(str(key) for key in set(header) ^ _HEADER_FIELDS))
        raise FileFormatError(f"{path}: missing or unknown entries: {odd}")
    stages = header["stages"]
    if not isinstance(stages, list | tuple) or not all(isinstance(stage, str) and stage for stage in stages):
        raise FileFormatError(f"{path}: stages {stages!r} is no list of names")
    if not isinstance(header["basis"], str) or not isinstance(header["metadata"], dict):
        raise FileFormatError(f"{path}: basis or metadata is not what it should be")


def _plain(values: Mapping[str, Any]) -> Any:
    """Tuples become lists, so that .pt and .safetensors hold the same."""
    return json.loads(json.dumps(values, allow_nan=False))


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: a saved view would drag its whole storage along."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
