"""Evenly spaced blocks of a trained deep network, as DynaBERT and LayerDrop cut it (Fan et al., ICLR 2020); with the residual step; and of
one that was trained with stochastic depth.

LayerDrop leaves out a block for a complete batch, each with the same probability. timm's stochastic depth, which is used here,
leaves out a branch for a single image, more often in deeper blocks.
"""

from functools import partial
from typing import TYPE_CHECKING

from tleg_cli.api import Initialiser, mix_blocks

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "https://arxiv.org/abs/1909.11556"


def even(blocks: int, trained: int) -> "Tensor":
    """(blocks, trained): row l takes block round(l (trained - 1) / (blocks - 1)), so the first and the last are kept."""
    import torch

    return torch.eye(trained)[torch.linspace(0, trained - 1, blocks, dtype=torch.float64).round().long()]


_cut = partial(mix_blocks, rows=even)
_scaled = partial(mix_blocks, rows=even, step="scaled")  # each block goes (trained / blocks) ** 0.5 times as far
_CUT = [
    Initialiser(
        name, f"every n-th block of a trained deep network{words}", _PAPER, function, trained_at="deepest", share=0.375
    )
    for name, words, function in (("every-nth", "", _cut), ("every-nth-scaled", ", with the residual step", _scaled))
]
METHODS = [
    *_CUT,
    Initialiser(
        "stochastic-depth", "every n-th block, trained with stochastic depth 0.2", _PAPER, _cut, trained_at="deepest",
        settings=("aux.drop_path=0.2",), share=0.375,
    ),
]  # fmt: skip
