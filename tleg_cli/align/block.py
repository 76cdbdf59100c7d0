"""A block as plain tensors, and what is compared when two blocks are matched."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Block = Mapping[str, Tensor]  # name inside the block -> weight, in float64


def rows(block: Block, linear: str) -> Tensor:
    """(out, in + 1): what leads to each output of a linear layer, its bias as the last column; (out, in) without bias."""
    weight, bias = block[f"{linear}.weight"], block.get(f"{linear}.bias")
    return weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)


def best_order(similarity: Tensor) -> Tensor:
    """(n,): which column belongs to each row so that the sum of their similarities is largest (Hungarian method).

    similarity: (n, n). Git Re-Basin (Ainsworth et al., arXiv 2209.04836) matches hidden units so.
    """
    from scipy.optimize import linear_sum_assignment

    return torch.as_tensor(linear_sum_assignment(similarity.numpy(), maximize=True)[1])
