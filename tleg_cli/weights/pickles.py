"""Reads a pickle without running it: every object becomes its name and arguments. The one list of what may be in a file.

Python's own unpickler, restricted: only listed names, only flat keys, and a limit for operations, so that a small file
can neither run code nor take minutes.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import pickle
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

MAX_PICKLE_BYTES = 50_000_000
MAX_OPERATIONS = 2_000_000  # 50,000 tensors take fewer; two seconds
_MAX_ARGUMENTS = 100
_MAX_KEY_PARTS = 8

_TABLES = {
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict",
    "yacs.config.CfgNode", "lightning_fabric.utilities.data.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
}  # fmt: skip
_PATHS = {
    f"pathlib{part}.{pure}{kind}"
    for part in ("", "._local")
    for pure in ("", "Pure")
    for kind in ("Path", "PosixPath", "WindowsPath")
}
_NUMPY = {
    f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")
} | {
    f"numpy.dtypes.{kind}DType"
    for kind in ("Bool", "Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Str")
}  # fmt: skip
# Options, scores and counters that training codes save next to their weights. They become inert names and are not used.
_VALUES = _PATHS | _NUMPY | {
    "argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray", "_codecs.encode",
    "builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple", "builtins.int", "builtins.float", "builtins.str",
    "builtins.bool", "builtins.bytes", "builtins.bytearray", "builtins.complex", "builtins.slice", "builtins.range", "builtins.xrange",
    "datetime.datetime", "datetime.date", "datetime.timedelta",
    "torch.Size", "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer",
    "torch.serialization._get_layout", "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor", "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_nested_tensor", "torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_wrapper_subclass",
    "torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._tensor._rebuild_from_type_v2", "torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.UntypedStorage",
}  # fmt: skip
_TORCH_KINDS = (
    "float",
    "bfloat",
    "int",
    "uint",
    "bool",
    "complex",
    "half",
    "double",
    "long",
    "short",
    "qint",
    "quint",
    "bits",
)
_QUANTISATION = ("torch.per_tensor_", "torch.per_channel_")


class Named:
    """An object of a file: `name` is that of its class, `arguments` what it would be made with. It does nothing."""

    name = ""
    arguments: tuple[Any, ...] = ()

    def __new__(cls, *arguments: Any) -> Named:
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    def __setstate__(self, state: Any) -> None:
        """State, items and members of an object that isn't used are dropped."""

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...


class Table(dict[Any, Any]):
    """OrderedDict, defaultdict and their kind: a dict without their state and without a default."""

    def __new__(cls, *_: Any) -> Table:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None: ...


@functools.cache
def _named(name: str) -> type:
    return type(name, (Named,), {"name": name})


def _is_listed(name: str) -> bool:
    if name in _VALUES:
        return True
    module, _, last = name.rpartition(".")
    return module == "torch" and (
        last.endswith("Storage") or last.startswith(_TORCH_KINDS) or name.startswith(_QUANTISATION)
    )


class _Reader(pickle._Unpickler):  # the one in Python: the C version allocates whatever an index claims
    """storages: the persistent ids, by their key: ("storage", type, key, device, elements, ...)."""

    stack: list[Any]  # these two are the base class's own
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self.storages: dict[str, Named] = {}
        self.operations = 0

    def find_class(self, module: str, name: str) -> Any:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full in _TABLES:
            return Table
        if not _is_listed(full):
            _refuse(f"it holds more than tensors and plain values ({full[:100]}); nothing was run")
        return _named(full)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6 or pid[0] != "storage" or not isinstance(pid[2], str):
            _refuse("it has a reference that torch.save doesn't write")
        return self.storages.setdefault(pid[2], Named(*pid))

    def count(self, operations: int = 1) -> None:
        self.operations += operations
        if self.operations > MAX_OPERATIONS:
            _refuse(f"its pickle takes more than {MAX_OPERATIONS:,} operations")

    def load_reduce(self) -> None:
        arguments = self._arguments()
        function = self.stack[-1]
        self.stack[-1] = function(*arguments)
        if (
            function is Table and len(arguments) == 1 and isinstance(arguments[0], list)
        ):  # as Python 2 wrote an OrderedDict
            self.count(len(arguments[0]))
            self._fill(self.stack[-1], [part for pair in arguments[0] for part in pair[:2]])

    def load_newobj(self) -> None:
        arguments = self._arguments()
        self.stack[-1] = self.stack[-1](*arguments)

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.load_newobj()

    def _arguments(self) -> tuple[Any, ...]:
        arguments = self.stack.pop()
        if not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            _refuse("an object has arguments that can't be right")
        return arguments

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append(Table())
        self._fill(self.stack[-1], items)

    def _fill(self, table: Any, items: list[Any]) -> None:
        """Keys are hashed, and the hash of nested tuples takes exponential time: only flat ones are let in."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            parts = key if type(key) is tuple and len(key) <= _MAX_KEY_PARTS else (key,)
            if any(isinstance(part, tuple | frozenset) for part in parts):
                _refuse("a table has a nested key")
            table[key] = value

    def load_additems(self) -> None:
        self.pop_mark()  # members of sets are not used

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.stack.append(frozenset())

    def load_bytearray8(self) -> None:
        _refuse("it has an operation that torch.save doesn't write")  # allocates what it claims before it reads


def _counted(step: Callable[[Any], None]) -> Callable[[Any], None]:
    def counted(reader: _Reader) -> None:
        reader.count()
        step(reader)

    return counted


_OWN: dict[bytes, Callable[[Any], None]] = {
    pickle.REDUCE: _Reader.load_reduce, pickle.NEWOBJ: _Reader.load_newobj, pickle.NEWOBJ_EX: _Reader.load_newobj_ex,
    pickle.SETITEM: _Reader.load_setitem, pickle.SETITEMS: _Reader.load_setitems, pickle.DICT: _Reader.load_dict,
    pickle.ADDITEMS: _Reader.load_additems, pickle.FROZENSET: _Reader.load_frozenset, pickle.BYTEARRAY8: _Reader.load_bytearray8,
}  # fmt: skip
_Reader.dispatch = {code: _counted(_OWN.get(bytes([code]), step)) for code, step in pickle._Unpickler.dispatch.items()}


def read_pickle(file: BinaryIO, storages: dict[str, Named] | None = None) -> Any:
    """The next object in `file`, its storages added to `storages`. Raises anything for a damaged pickle; nothing is run."""
    reader = _Reader(file)
    with _without_garbage_collection():
        content = reader.load()
    if storages is not None:
        storages.update(reader.storages)
    return content


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """It would go through millions of new lists again and again, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _refuse(reason: str) -> NoReturn:
    raise pickle.UnpicklingError(reason)
