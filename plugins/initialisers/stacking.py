"""Stacking: the blocks of a trained shallow network again and again (Gong et al., ICML 2019; G_stack, Du et al. 2024)."""

from functools import partial
from typing import TYPE_CHECKING

from tleg_cli.api import Initialiser, mix_blocks

if TYPE_CHECKING:
    from torch import Tensor


def repeated(blocks: int, trained: int) -> "Tensor":
    """(blocks, trained): row l takes block l mod trained."""
    import torch

    return torch.eye(trained)[torch.arange(blocks) % trained]


METHODS = [
    Initialiser(
        "stacking", "the blocks of a trained shallow network, repeated", "https://arxiv.org/abs/2405.15319",
        partial(mix_blocks, rows=repeated), trained_at="shallowest", share=0.375,
    )
]  # fmt: skip
