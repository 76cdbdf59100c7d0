"""Folding a norm's weight and bias into the linear layer that reads it: W (g * x + b) + c = (W g) x + (W b + c)."""

from __future__ import annotations

from torch import Tensor

from tleg_cli.align.block import Block


def fold_norm(block: Block, norm: str, linear: str) -> Block:
    """The same function with a norm that scales by 1 and adds 0. A linear layer without bias can't take the norm's: then all stays.

    norm: (width,) weight and bias. linear: (out, width) weight.
    """
    scale, shift = block[f"{norm}.weight"], block.get(f"{norm}.bias")
    weight, bias = block[f"{linear}.weight"], block.get(f"{linear}.bias")
    if shift is not None and bias is None:
        return block
    folded: dict[str, Tensor] = {f"{norm}.weight": scale.new_ones(scale.shape), f"{linear}.weight": weight * scale}
    if shift is not None and bias is not None:
        folded |= {f"{norm}.bias": shift.new_zeros(shift.shape), f"{linear}.bias": bias + weight @ shift}
    return {**block, **folded}
