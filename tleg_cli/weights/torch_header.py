"""The header of a torch archive (a zip with a pickle in it) without torch: every object becomes a name, nothing is run."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tleg_cli.errors import FileFormatError, first_line
from tleg_cli.weights.header import Header, TensorInfo, plain

MAX_PICKLE_BYTES = 100_000_000
_LEARNGENE = "tleg-learngene"  # learngene/file.py writes it; that file needs torch
_PLAIN_MODULES = (
    "torch",
    "numpy",
    "_codecs",
    "argparse",
    "pathlib",
)  # what checkpoints hold; by name only, never imported
_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
}  # fmt: skip


class _Named:
    """Stands for an object of a file: its class is a name, its content the arguments it would be made with."""

    name = ""
    arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any) -> _Named:
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    def __setstate__(self, state: Any) -> None:
        """What an object would have done with its state, it doesn't."""


class _Reader(pickle._Unpickler):  # the one in Python: its C twin allocates whatever an index says
    """Reads names in place of objects. Raises UnpicklingError for a name that no weights file needs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module.split(".")[0] not in _PLAIN_MODULES:
            raise pickle.UnpicklingError(
                f"it holds more than tensors and plain values ({module}.{name}); nothing was run"
            )
        return type(name, (_Named,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return _Named(*pid)  # ("storage", type, key, device, numbers)


def read_torch_header(path: Path) -> Header:
    """The header of a zip archive that torch.save wrote. Raises FileFormatError for any other."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
            if entry.file_size > MAX_PICKLE_BYTES:
                raise FileFormatError(
                    f"{path}: data.pkl claims {entry.file_size:,} bytes, {MAX_PICKLE_BYTES:,} are allowed"
                )
            content = _Reader(io.BytesIO(archive.read(entry))).load()
    except FileFormatError:
        raise
    except StopIteration:
        raise FileFormatError(f"{path} is a zip archive, but not one that torch.save wrote") from None
    except (Exception, zlib.error) as error:  # damaged archives and pickles raise whatever they please
        reason = first_line(error)
        raise FileFormatError(f"{path} is no readable torch file: {reason}") from None
    return header_of(content, path)


def header_of(content: Any, path: Path) -> Header:
    """The header of a loaded torch file, its tensors real ones or only named."""
    table = find_weights(content, lambda value: tensor_info(value) is not None, path)
    tleg = {}
    if isinstance(content, dict) and content.get("format") == _LEARNGENE:
        tleg = plain({key: value for key, value in content.items() if key not in ("theta", "shared")})
    extra = (
        {}
        if tleg or not isinstance(content, dict)
        else {str(k): kind_of(v) for k, v in content.items() if k not in table}
    )
    infos = {name: info for name, value in table.items() if (info := tensor_info(value))}
    return Header("torch", infos, tleg, extra)


def find_weights(content: Any, is_tensor: Any, path: Path) -> Mapping[str, Any]:
    """The state dict in what a torch file holds: itself, under "model" or "state_dict", or a learngene's two parts.

    Raises FileFormatError that says what was found instead.
    """
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} holds no weights by name: {kind_of(content)}")
    if content.get("format") == _LEARNGENE:
        parts = [(part, content.get(part)) for part in ("theta", "shared")]
        return {
            f"{part}/{name}": value for part, table in parts if isinstance(table, dict) for name, value in table.items()
        }
    for place in _places(content):
        if place and all(isinstance(name, str) for name in place) and all(is_tensor(value) for value in place.values()):
            return place
    found = ", ".join(f"{key}: {kind_of(value)}" for key, value in list(content.items())[:8]) or "nothing"
    raise FileFormatError(
        f"{path} holds no state dict (tensors by name, alone or under 'model' or 'state_dict'); found {found}"
    )


def _places(content: Mapping[Any, Any], deep: int = 3) -> Iterator[Mapping[Any, Any]]:
    """deep: a pickle may hold a dict that holds itself."""
    yield content
    for key in ("model", "state_dict"):
        if deep and isinstance(content.get(key), dict):
            yield from _places(content[key], deep - 1)


def tensor_info(value: Any) -> TensorInfo | None:
    """Shape and dtype of a tensor, real or named; None for anything else, and for one larger than what it is stored in."""
    if hasattr(value, "untyped_storage"):
        info = TensorInfo(tuple(value.shape), str(value.dtype).removeprefix("torch."))
        return info if value.numel() * value.element_size() <= value.untyped_storage().nbytes() else None
    if not isinstance(value, _Named):
        return None
    if value.name == "torch._utils._rebuild_parameter" and value.arguments:
        return tensor_info(value.arguments[0])
    if value.name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"):
        return _rebuilt(value.arguments, typed=value.name.endswith("v3"))
    return None


def _rebuilt(arguments: tuple[Any, ...], *, typed: bool) -> TensorInfo | None:
    """Of `_rebuild_tensor_v2(storage, offset, shape, ..)`; v3 has the dtype as its seventh argument."""
    if len(arguments) < (7 if typed else 4) or not isinstance(arguments[0], _Named):
        return None
    storage, _, shape, *_ = arguments
    if len(storage.arguments) != 5 or not isinstance(shape, tuple):  # "storage", type, key, device, numbers
        return None
    kind = arguments[6] if typed else storage.arguments[1]
    name = str(getattr(kind, "name", "")).removeprefix("torch.")
    if not all(isinstance(number, int) and number >= 0 for number in shape):
        return None
    stored = storage.arguments[4]
    if not typed and (not isinstance(stored, int) or math.prod(shape) > stored):
        return None
    return TensorInfo(shape, _DTYPES.get(name, name))


def kind_of(value: Any) -> str:
    """What a value is, in a few words."""
    if (info := tensor_info(value)) is not None:
        return f"tensor {list(info.shape)}"
    if isinstance(value, _Named):
        return str(value.name)
    size = f" of {len(value)}" if isinstance(value, dict | list | tuple) else ""
    return type(value).__name__ + size
