"""How the functions of kernel.py are compiled: once on a machine, without the GIL. Needs numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def kept(function: Callable[..., None]) -> Any:
    """Compiled at the first call; the code is kept on the disk if a folder for it is writable.

    The file of `function` is the key, so whatever it calls must be in the same file. Not parallel: numba's fallback
    thread pool ends the process when two threads use it, and the decoder of .beton files may be one of them.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the home is writable
        return njit(**options)(function)
