"""Tensors of a torch file, from the calls that would rebuild them: shape, dtype, storage. Needs no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from tleg_cli.weights.header import MAX_DIMENSIONS, TensorInfo
from tleg_cli.weights.pickles import Named

_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}  # fmt: skip
_FURTHER_DTYPES = {f"float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")} | {
    "uint16",
    "uint32",
    "uint64",
}
_ODD_KINDS = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_qtensor": "quantised",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "on the meta device, without values",
    "_rebuild_wrapper_subclass": "of a subclass of torch.Tensor",
    "_rebuild_device_tensor_from_numpy": "of a device that torch.save can't store directly",
    "_rebuild_device_tensor_from_cpu_tensor": "of a device that torch.save can't store directly",
}
_IDENTITY = {"_rebuild_parameter", "_rebuild_parameter_with_state"}


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage. offset and stride count elements; elements: how many the storage has."""

    info: TensorInfo
    item_size: int
    key: str
    elements: int
    offset: int
    stride: tuple[int, ...]


def item_size(dtype: str) -> int:
    """Bytes of one element: `float8_e4m3fn` -> 1, `complex64` -> 8."""
    bits = re.search(r"[0-9]+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def storage_dtype(storage: Named) -> tuple[str, int]:
    """The dtype of a typed storage and the bytes of an element. Raises ValueError for one that isn't known."""
    kind = str(getattr(storage.arguments[1], "name", "")).rpartition(".")[2]
    elements = storage.arguments[4]
    if not isinstance(elements, int) or isinstance(elements, bool) or not 0 <= elements < 2**48:
        raise ValueError("a storage has no valid number of elements")
    if kind not in _DTYPES:
        raise ValueError(f"a storage is of the unknown type {kind[:40] or 'none'}")
    dtype = _DTYPES[kind]
    return dtype, item_size(dtype)


def stored_tensor(value: Any) -> StoredTensor | str | None:
    """The tensor that `value` would be; what is odd about it, in words, if it has no plain values; None for anything else."""
    if not isinstance(value, Named) or isinstance(value, type):
        return None
    function = value.name.removeprefix("torch._utils.")
    if value.name == "torch._tensor._rebuild_from_type_v2" and len(value.arguments) == 4:
        made, kind, arguments, _ = value.arguments
        plain_kind = getattr(kind, "name", "") in (
            "torch.nn.parameter.Parameter",
            "torch.nn.parameter.Buffer",
            "torch.Tensor",
        )
        if not plain_kind or not isinstance(made, type) or not isinstance(arguments, tuple) or len(arguments) > 10:
            return "of a subclass of torch.Tensor"
        inner = made(*arguments)
        return stored_tensor(inner) if isinstance(inner, Named) and "from_type" not in inner.name else None
    if function in _IDENTITY and value.arguments:
        inner = value.arguments[0]
        return (
            None
            if isinstance(inner, Named) and inner.name.removeprefix("torch._utils.") in _IDENTITY
            else stored_tensor(inner)
        )
    if function in _ODD_KINDS:
        return _ODD_KINDS[function]
    if function in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        return _view(value.arguments, typed=function.endswith("v3"))
    return None


def _view(arguments: tuple[Any, ...], *, typed: bool) -> StoredTensor | str | None:
    """Of `_rebuild_tensor_v2(storage, offset, shape, stride, ..)`; v3 has the dtype as its seventh argument."""
    if len(arguments) < (7 if typed else 4) or not isinstance(arguments[0], Named) or len(arguments[0].arguments) < 5:
        return None
    storage, offset, shape, stride = arguments[:4]
    if not _sizes((offset,)) or not _sizes(shape) or not _sizes(stride) or len(shape) != len(stride):
        return "without a valid shape"
    if any(arguments[7 if typed else 6 :]):
        return "conjugated or negated lazily"
    try:
        dtype, size = storage_dtype(storage)
    except ValueError as error:
        return f"not readable: {error}"
    elements = storage.arguments[4]
    if typed:
        dtype = str(getattr(arguments[6], "name", "")).removeprefix("torch.")
        if dtype not in _FURTHER_DTYPES and dtype not in _DTYPES.values():
            return f"of dtype {dtype[:40] or 'none'}, which can't be computed with"
        elements, size = elements * size // item_size(dtype), item_size(dtype)
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if math.prod(shape) and last >= elements:
        return "larger than its storage"
    return StoredTensor(TensorInfo(tuple(shape), dtype), size, storage.arguments[2], elements, offset, tuple(stride))


def _sizes(values: Any) -> bool:
    """Whole numbers from 0, few enough and small enough for a tensor."""
    if isinstance(values, Named) and values.name == "torch.Size" and values.arguments:
        values = values.arguments[0]
    return (
        isinstance(values, tuple | list)
        and len(values) <= MAX_DIMENSIONS
        and all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48 for value in values)
    )
