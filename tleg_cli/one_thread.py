"""torch on a single thread: for results that don't depend on how many there are, and for many decompositions of moderate size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """torch computes with one thread in the block; yields how many it had before.

    Several gain little on eigenvalues of a few thousand rows, and where other work shares the cores they wait for each other: the
    eigenvectors of a ViT-B took 50 times as long on two busy cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
