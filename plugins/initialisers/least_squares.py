"""The line nearest to the blocks of a trained deep network, which `tleg fit` computes; then TLEG's formula."""

from functools import partial
from typing import TYPE_CHECKING

from tleg_cli.api import Initialiser, mix_blocks

if TYPE_CHECKING:
    from torch import Tensor


def fitted(blocks: int, trained: int) -> "Tensor":
    """(blocks, trained): B_L B_D^+, with rows (1, l / L) in B_L."""
    import torch

    def line(depth: int) -> "Tensor":
        at = torch.arange(depth, dtype=torch.float64) / depth
        return torch.stack([torch.ones_like(at), at], dim=1)

    return line(blocks) @ torch.linalg.pinv(line(trained))


METHODS = [
    Initialiser(
        "least-squares", "the line nearest to a trained deep network (tleg fit)", "https://arxiv.org/abs/2312.05614",
        partial(mix_blocks, rows=fitted), trained_at="deepest", share=0.375,
    )
]  # fmt: skip
