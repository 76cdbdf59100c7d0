"""The one reader of weights: every tensor that tleg uses comes from here, checked against the file's checksums."""

from __future__ import annotations

import contextlib
import mmap
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tleg_cli.errors import first_line
from tleg_cli.one_thread import one_thread
from tleg_cli.weights.header import Header, Place, TensorInfo, unreadable
from tleg_cli.weights.read_header import read_header

Get = Callable[[str], Tensor]


@dataclass(frozen=True)
class Weights:
    """tensors: a state dict on the CPU. header: also says which set of weights this is, and which others the file has."""

    tensors: dict[str, Tensor]
    header: Header


def read_weights(path: Path, which: str = "auto") -> Weights:
    """All weights of a safetensors or torch file, in memory. which: auto (the EMA if there is one), raw or ema.

    Nested state dicts (`model`, `state_dict`, ...) are found, and prefixes of wrappers (`module.`, `_orig_mod.`, `model.`)
    removed if all names have them. Raises FileFormatError for a file that can't be read or is damaged; nothing in it is
    run. Values may be NaN: see first_not_finite.
    """
    with _mapped(path, which) as (header, mapped):
        get, tensors = _getter(path, header, mapped), {}
        for name in header.tensors:
            tensors[name] = get(name).clone()
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)  # else the file is in memory a second time
        return Weights(tensors, header)


@contextlib.contextmanager
def open_weights(path: Path, which: str = "auto") -> Iterator[tuple[Header, Get]]:
    """The header, and a function that gives one tensor by its name there: memory stays near what is read.

    The tensors are views of the file, private to this process. Raises FileFormatError as read_weights does; the function
    raises it for a damaged tensor.
    """
    with _mapped(path, which) as (header, mapped):
        yield header, _getter(path, header, mapped)  # the tensors keep the mapping alive


@contextlib.contextmanager
def _mapped(path: Path, which: str) -> Iterator[tuple[Header, mmap.mmap]]:
    header = read_header(path, which)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise unreadable(path, header.container, first_line(error)) from None
        yield header, mapped


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or Inf, None if all are finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex():
            numbers = tensor if tensor.itemsize > 1 else tensor.float()  # torch has no isfinite for float8
            if not bool(numbers.isfinite().all()):
                return name
    return None


def _getter(path: Path, header: Header, mapped: mmap.mmap) -> Get:
    checked: set[int] = set()

    def stored(name: str, info: TensorInfo) -> Tensor:
        place = header.places[name]
        try:
            if place.crc is not None and place.begin not in checked:
                _check(mapped, place)
                checked.add(place.begin)
            return _tensor(mapped, info, place)
        except (ValueError, RuntimeError, TypeError, OverflowError) as error:  # torch refuses in its own ways
            raise unreadable(path, header.container, f"tensor {name[:200]!r}: {first_line(error)}") from None

    def get(name: str) -> Tensor:
        factors = header.factors.get(name)
        if factors is None:
            return stored(name, header.tensors[name])
        mean, left, right = (stored(key, info) for key, info in factors.parts.items())
        return theta_of(mean, left, right, factors.ranks)

    return get


@one_thread()
def theta_of(mean: Tensor, left: Tensor, right: Tensor, ranks: Sequence[int]) -> Tensor:
    """(thetas, *shape): mean + left_k @ right_k of each theta, in float64 on one thread, so that every machine gets the same values.

    mean: (*shape). left: (rows, sum of ranks), right: (sum of ranks, columns); see low_rank.py.
    """
    middle, shape = mean.double().flatten(1), mean.shape
    residuals = zip(left.double().split([*ranks], 1), right.double().split([*ranks], 0), strict=True)
    return torch.stack([(middle + one @ other).to(mean.dtype).view(shape) for one, other in residuals])


def _check(mapped: mmap.mmap, place: Place) -> None:
    with memoryview(mapped) as view, view[place.begin : place.begin + place.size] as values:
        if zlib.crc32(values) != place.crc:
            raise ValueError("its checksum is wrong: the file is damaged; copy or download it again")


def _tensor(mapped: mmap.mmap, info: TensorInfo, place: Place) -> Tensor:
    dtype = getattr(torch, info.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"this torch has no dtype {info.dtype}")
    if not info.numel:
        return torch.empty(info.shape, dtype=dtype)
    if place.begin % dtype.itemsize:  # old torch files don't align their storages
        values = torch.frombuffer(bytearray(mapped[place.begin : place.begin + place.size]), dtype=dtype)
    else:
        values = torch.frombuffer(mapped, dtype=dtype, count=place.size // dtype.itemsize, offset=place.begin)
    if place.stride is None:
        return values.view(info.shape)
    return values.as_strided(info.shape, place.stride, place.offset).contiguous()


def checksum(tensor: Tensor) -> int:
    """The CRC-32 of a contiguous tensor's bytes, at about the speed of memory."""
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data) if tensor.numel() else 0
