"""All blocks of a stage matched with each other, and with what a basis can make of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tleg_cli.align.block import Block
from tleg_cli.align.fold_norms import fold_norm
from tleg_cli.align.heads import match_heads
from tleg_cli.align.units import match_units
from tleg_cli.hookspecs import BlockLayout

_ROUNDS = 20
_ENOUGH = 1e-3  # of what is left: rounds that gain less end it


def align_blocks(blocks: Sequence[Block], layout: BlockLayout, heads: int, basis: Tensor) -> list[Block]:
    """Blocks of the same function each, with weights that are nearer to each other and to a basis.

    Norms are folded; then each block is matched with the one before it, and all of them, again and again, with the nearest
    weights of the basis, until that gains less than a thousandth. blocks: in float64. basis: (blocks, rank), see Basis.
    """
    folded = [_fold(block, layout) for block in blocks]
    aligned = folded[:1]
    for block in folded[1:]:
        aligned.append(_match(block, aligned[-1], layout, heads))
    projection = basis @ torch.linalg.pinv(basis)
    left = _distance(aligned, _project(aligned, projection))
    for _ in range(_ROUNDS if basis.shape[1] < len(blocks) else 0):
        targets = _project(aligned, projection)
        closer = [_match(block, target, layout, heads) for block, target in zip(aligned, targets, strict=True)]
        before, left = left, _distance(closer, _project(closer, projection))
        aligned = closer
        if left > (1 - _ENOUGH) * before:
            break
    return aligned


def _fold(block: Block, layout: BlockLayout) -> Block:
    for norm, linear in layout.norms:
        block = fold_norm(block, norm, linear)
    return block


def _match(block: Block, target: Block, layout: BlockLayout, heads: int) -> Block:
    if layout.mlp:
        block = match_units(block, target, layout.mlp)
    if layout.attention:
        block = match_heads(block, target, layout.attention, heads, rotate_qk=not _normalises_heads(block, layout))
    return block


def _project(blocks: Sequence[Block], projection: Tensor) -> list[Block]:
    """Each block replaced by the nearest that the basis can make. projection: (blocks, blocks)."""
    stacks = {name: torch.stack([block[name] for block in blocks]) for name in blocks[0]}
    nearest = {name: torch.tensordot(projection, stack, dims=1) for name, stack in stacks.items()}
    return [{name: stack[number] for name, stack in nearest.items()} for number in range(len(blocks))]


def _distance(blocks: Sequence[Block], targets: Sequence[Block]) -> float:
    return sum(
        float((block[name] - target[name]).square().sum())
        for block, target in zip(blocks, targets, strict=True)
        for name in block
    )


def _normalises_heads(block: Block, layout: BlockLayout) -> bool:
    """Whether queries and keys have norms of their own (timm's qk_norm), next to the layer that makes them."""
    assert layout.attention is not None
    place = layout.attention[0].rpartition(".")[0]
    return any(name.startswith((f"{place}.q_norm.", f"{place}.k_norm.")) for name in block)
