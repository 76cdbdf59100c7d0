"""LiGO along the depth: every block is a learned combination of the blocks of a trained shallow network (Wang et al., ICLR 2023).

The coefficients, of each weight of a block its own, start as stacking and are trained for a quarter of the network's steps; then
the network is trained. LiGO trains them for 100 steps, which is more than a small budget has, and its factors in width are not needed.
"""

from typing import TYPE_CHECKING

from tleg_cli.api import Initialiser, Mixing

if TYPE_CHECKING:
    from torch import Tensor


def stacked(blocks: int, trained: int) -> "Tensor":
    """(blocks, trained): where the coefficients start; row l takes block l mod trained."""
    import torch

    return torch.eye(trained).repeat(-(-blocks // trained), 1)[:blocks]


METHODS = [
    Initialiser(
        "ligo",
        "learned mixtures of the blocks of a trained shallow network (LiGO)",
        "https://arxiv.org/abs/2303.00980",
        trained_at="shallowest",
        share=0.375,
        mixing=Mixing(stacked, share=0.25, settings=("aux.lr=2e-2",)),
    )
]
