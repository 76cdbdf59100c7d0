"""Weight selection: the first L blocks of a trained deep network (Xu et al., ICLR 2024)."""

from functools import partial
from typing import TYPE_CHECKING

from tleg_cli.api import Initialiser, mix_blocks

if TYPE_CHECKING:
    from torch import Tensor


def first(blocks: int, trained: int) -> "Tensor":
    """(blocks, trained): row l takes block l."""
    import torch

    return torch.eye(trained)[:blocks]


METHODS = [
    Initialiser(
        "first-blocks",
        "the first blocks of a trained deep network (weight selection)",
        "https://arxiv.org/abs/2311.18823",
        partial(mix_blocks, rows=first),
        trained_at="deepest",
        share=0.375,
    )
]
