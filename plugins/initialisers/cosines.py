"""The blocks of a trained deep network as cosines over depth, cut off or padded: FRONT's part along the depth (arXiv 2603.07523).

FRONT transforms both axes of every weight as well, which only matters when the width changes.
"""

from functools import partial
from typing import TYPE_CHECKING

from tleg_cli.api import Initialiser, mix_blocks

if TYPE_CHECKING:
    from torch import Tensor


def cosines(blocks: int) -> "Tensor":
    """(blocks, blocks) float64: the orthonormal DCT-II, whose transpose is its inverse."""
    import math

    import torch

    at = torch.arange(blocks, dtype=torch.float64)
    rows = torch.cos(math.pi / blocks * (at + 0.5) * at[:, None]) * (2 / blocks) ** 0.5
    rows[0] *= 0.5**0.5
    return rows


def resampled(blocks: int, trained: int) -> "Tensor":
    """(blocks, trained): to frequencies, of which the lowest are kept, and back. What all blocks have in common stays the same."""
    kept = min(blocks, trained)
    return (blocks / trained) ** 0.5 * cosines(blocks)[:kept].T @ cosines(trained)[:kept]


METHODS = [
    Initialiser(
        "cosines", "a trained deep network's lowest frequencies over depth (FRONT)", "https://arxiv.org/abs/2603.07523",
        partial(mix_blocks, rows=resampled), trained_at="deepest", share=0.375,
    )
]  # fmt: skip
