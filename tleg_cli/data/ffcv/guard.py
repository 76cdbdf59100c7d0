"""FFCV's import made fast and safe, and its side effects on the rest of the process undone."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tleg_cli.errors import DataError, first_line

INSTALL = "apt-get install pkg-config libturbojpeg0-dev libopencv-dev && pip install 'tleg[ffcv]'"

_log = logging.getLogger("tleg")


@functools.cache
def import_ffcv() -> ModuleType:
    """The ffcv package. Raises DataError with the way to install it; image folders work without."""
    try:
        with torch_threads_kept(), _no_typed_dict():
            return importlib.import_module("ffcv")
    except Exception as error:  # a broken build raises whatever the linker says
        raise DataError(
            f".beton files need FFCV, which can't be imported ({first_line(error)}): {INSTALL}; a folder of images works without it"
        ) from error


@contextlib.contextmanager
def _no_typed_dict() -> Iterator[None]:
    """ffcv.fields.rgb_image fills a numba.typed.Dict with two constants when it is imported: 3.5 s of compilation that nothing needs."""
    typed: Any = importlib.import_module("numba.typed")
    original = typed.Dict
    typed.Dict = dict
    try:
        yield
    finally:
        typed.Dict = original


@contextlib.contextmanager
def torch_threads_kept() -> Iterator[None]:
    """FFCV sets torch's thread count to its own number of workers whenever it is imported or opened."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def not_compiled() -> Iterator[None]:
    """FFCV's loaders that are opened in this block don't compile our decoders, which are compiled already and kept on the disk."""
    from ffcv.pipeline.compiler import Compiler

    Compiler.set_enabled(False)
    try:
        yield
    finally:
        Compiler.set_enabled(True)


def usable_threads(wanted: int) -> int:
    """At least one, at most what numba was started with."""
    from numba import config

    return max(1, min(wanted, config.NUMBA_NUM_THREADS))


def warn_if_larger_than_memory(file: Path) -> None:
    """Warns if the operating system's cache can't hold the file, so that each epoch reads it from the disk."""
    size, free = file.stat().st_size, _available_memory()
    if free is not None and size > free:
        _log.warning(
            "%s (%.1f GiB) is larger than free memory (%.1f GiB), so that every epoch reads it from the disk; "
            "`tleg prepare --max-resolution` makes smaller files",
            *(file, size / 2**30, free / 2**30),
        )


def _available_memory() -> int | None:
    """Bytes, or None if the system doesn't tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pages = os.sysconf_names.get("SC_AVPHYS_PAGES")
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages is not None else None
