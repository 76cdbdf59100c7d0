"""The hidden units of an MLP in another order, chosen so that they match those of another block."""

from __future__ import annotations

from torch import Tensor

from tleg_cli.align.block import Block, best_order, rows


def permute_units(block: Block, mlp: tuple[str, str], order: Tensor) -> Block:
    """The same function: unit i is what unit order[i] was. mlp: the linear layers before and after the units. order: (units,)."""
    before, after = mlp
    moved = {
        f"{before}.weight": block[f"{before}.weight"][order],
        f"{after}.weight": block[f"{after}.weight"][:, order],
    }
    if f"{before}.bias" in block:
        moved[f"{before}.bias"] = block[f"{before}.bias"][order]
    return {**block, **moved}


def match_units(block: Block, target: Block, mlp: tuple[str, str]) -> Block:
    """`block` with its units in the order nearest to those of `target`, in the sum of squares over both layers."""
    before, after = mlp
    into = rows(target, before) @ rows(block, before).T
    out_of = target[f"{after}.weight"].T @ block[f"{after}.weight"]
    return permute_units(block, mlp, best_order(into + out_of))
