"""What torch.save wrote, without torch: the objects as names, and where in the file each storage is.

Two containers: a zip archive (torch 1.6 and later), and before that a row of pickles followed by the storages.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tleg_cli.errors import FileFormatError, first_line
from tleg_cli.weights.header import MAX_TENSORS, unreadable
from tleg_cli.weights.pickles import MAX_PICKLE_BYTES, Named, read_pickle
from tleg_cli.weights.torch_tensors import storage_dtype

_OLD_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER
_MAX_ENTRIES = MAX_TENSORS + 100
_MAX_DIRECTORY_BYTES = 8_000_000  # 50,000 entries with long names
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, .., length of the name, length of the extra field


@dataclass(frozen=True)
class Span:
    """Bytes of a file; crc: their CRC-32, None if it isn't known."""

    begin: int
    size: int
    crc: int | None


@dataclass(frozen=True)
class TorchFile:
    """content: plain values, Named objects, Tables. span: the place of a storage by its key; KeyError if there is none."""

    content: Any
    span: Callable[[str], Span]


def read_torch_file(path: Path) -> TorchFile:
    """Raises FileFormatError for damage, code, compression, or more of anything than a weights file needs."""
    try:
        with path.open("rb") as file:
            return _read_zip(file) if file.read(2) == b"PK" else _read_old(file)
    except FileFormatError:
        raise
    except (Exception, zlib.error) as error:  # damaged archives and pickles raise anything
        raise unreadable(path, "torch", first_line(error)) from None


def _read_zip(file: BinaryIO) -> TorchFile:
    size = file.seek(0, os.SEEK_END)
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        _check_entries(archive.infolist(), entries, size)
    name = next((name for name in entries if name.endswith("/data.pkl")), None)
    if name is None:
        raise ValueError("it is a zip archive, but not one that torch.save wrote")
    root = name.removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise ValueError("it is a TorchScript archive; save its state_dict() with torch.save")
    if entries[name].file_size > MAX_PICKLE_BYTES:
        raise ValueError(f"its pickle has {entries[name].file_size:,} bytes; at most {MAX_PICKLE_BYTES:,} are read")
    has_crc = any(
        entry.CRC for entry in entries.values()
    )  # torch.serialization.set_crc32_options(False) leaves all at 0
    spans = {name: _span(file, entry, size, has_crc=has_crc) for name, entry in entries.items()}
    order = spans.get(f"{root}byteorder")
    if order is not None and _bytes(file, order) != b"little":
        raise ValueError("its numbers are big-endian")
    return TorchFile(read_pickle(io.BytesIO(_bytes(file, spans[name]))), lambda key: spans[f"{root}data/{key}"])


def _bytes(file: BinaryIO, span: Span) -> bytes:
    file.seek(span.begin)
    found = file.read(span.size)
    if span.crc is not None and zlib.crc32(found) != span.crc:
        raise ValueError("a checksum is wrong: the file is damaged; copy or download it again")
    return found


def _check_directory(file: BinaryIO, size: int) -> None:
    """Before zipfile reads it: a directory of a million entries takes minutes and gigabytes."""
    start = max(0, size - 65_557)  # the longest comment and the end record
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise ValueError("its end is missing (an incomplete copy or download?)")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    zip64 = tail[max(0, at - 76) : at]  # its end record and the pointer to it come right before
    if zip64.startswith(b"PK\x06\x06"):
        directory = int.from_bytes(zip64[40:48], "little")
    if directory > _MAX_DIRECTORY_BYTES:
        raise ValueError(f"its directory has {directory:,} bytes; at most {_MAX_DIRECTORY_BYTES:,} are read")


def _check_entries(listed: Sequence[zipfile.ZipInfo], entries: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    if len(listed) > _MAX_ENTRIES:
        raise ValueError(f"it has {len(listed):,} entries; at most {_MAX_ENTRIES:,} are read")
    if len(entries) != len(listed):
        raise ValueError("two of its entries have the same name")
    for entry in listed:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(
                f"its entry {entry.filename[:80]!r} is compressed, which torch.save never does; "
                "unpack it and pack it again with zip -0"
            )
    if sum(entry.file_size for entry in listed) > size:
        raise ValueError("its entries claim more bytes than the file has")


def _span(file: BinaryIO, entry: zipfile.ZipInfo, size: int, *, has_crc: bool) -> Span:
    """Where the bytes of a stored entry begin: after the local header, whose lengths may differ from the directory's."""
    file.seek(entry.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    begin = entry.header_offset + _LOCAL_HEADER.size + name + extra
    if signature != b"PK\x03\x04" or begin + entry.file_size > size:
        raise ValueError(f"its entry {entry.filename[:80]!r} is not where the directory says")
    return Span(begin, entry.file_size, entry.CRC if has_crc else None)


class _Limited:
    """A file that ends after MAX_PICKLE_BYTES: an old file doesn't say how long its pickles are."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, MAX_PICKLE_BYTES

    def _take(self, found: bytes) -> bytes:
        self.left -= len(found)
        if self.left < 0:
            raise ValueError(f"its pickles have more than {MAX_PICKLE_BYTES:,} bytes")
        return found

    def read(self, size: int) -> bytes:
        return self._take(self.file.read(min(size, self.left + 1)))

    def readline(self) -> bytes:
        return self._take(self.file.readline(self.left + 1))


def _read_old(file: BinaryIO) -> TorchFile:
    file.seek(0)
    limited: Any = _Limited(file)
    if read_pickle(limited) != _OLD_MAGIC:
        raise ValueError("it is a pickle, but not one that torch.save wrote")
    read_pickle(limited)  # the version of the protocol
    system = read_pickle(limited)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    storages: dict[str, Named] = {}
    content = read_pickle(limited, storages)
    keys = read_pickle(limited)
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages) or len(keys) != len(storages):
        raise ValueError("its list of storages doesn't fit its tensors")
    return TorchFile(content, _old_spans(file, keys, storages).__getitem__)


def _old_spans(file: BinaryIO, keys: list[str], storages: Mapping[str, Named]) -> dict[str, Span]:
    """One after the other: the number of elements in 8 bytes, then the elements."""
    spans = {}
    begin = file.tell()
    end = file.seek(0, os.SEEK_END)
    for key in keys:
        _, _, _, _, elements, *view = storages[key].arguments
        _, item_size = storage_dtype(storages[key])
        file.seek(begin)
        if int.from_bytes(file.read(8), "little") != elements or any(view):
            raise ValueError(f"its storage {key[:40]!r} is not what its tensors say")
        spans[key] = Span(begin + 8, elements * item_size, None)
        begin += 8 + spans[key].size
        if begin > end:
            raise ValueError("its end is missing (an incomplete copy or download?)")
    return spans
