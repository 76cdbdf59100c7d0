"""The heads of an attention layer in another order, and inside each head other axes, chosen so that they match those of another block.

softmax(Q K^T) V O stays the same if Q and K are rotated alike, and V and O.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tleg_cli.align.block import Block, best_order, rows


def permute_heads(block: Block, attention: tuple[str, str], heads: int, order: Tensor) -> Block:
    """The same function: head i is what head order[i] was. attention: the layers `qkv` (queries, keys, values in one) and `proj`."""
    qkv, proj = attention
    moved = {f"{proj}.weight": block[f"{proj}.weight"].unflatten(1, (heads, -1))[:, order].flatten(1)}
    for name in (f"{qkv}.weight", f"{qkv}.bias"):
        if name in block:
            moved[name] = block[name].unflatten(0, (3, heads, -1))[:, order].flatten(0, 2)
    return {**block, **moved}


def rotate_heads(block: Block, attention: tuple[str, str], queries_and_keys: Tensor | None, values: Tensor) -> Block:
    """The same function with rotated axes inside the heads. Both: (heads, axes, axes), orthogonal; None: queries and keys stay."""
    qkv, proj = attention
    heads, axes, _ = values.shape
    stay = torch.eye(axes, dtype=values.dtype).expand_as(values)
    both = stay if queries_and_keys is None else queries_and_keys
    turn = torch.stack([both, both, values])  # (3, heads, axes, axes)
    turned = {
        f"{proj}.weight": (block[f"{proj}.weight"].unflatten(1, (heads, axes)).transpose(0, 1) @ values.mT)
        .transpose(0, 1)
        .flatten(1)
    }
    for name in (f"{qkv}.weight", f"{qkv}.bias"):
        if name in block:
            parts = block[name].unflatten(0, (3, heads, axes))
            turned[name] = (turn @ (parts if parts.ndim == 4 else parts[..., None])).reshape(block[name].shape)
    return {**block, **turned}


def match_heads(
    block: Block, target: Block, attention: tuple[str, str], heads: int, *, rotate_qk: bool = True
) -> Block:
    """`block` with the order of heads and the axes inside them nearest to those of `target`, in the sum of squares.

    rotate_qk: False where queries or keys are normalised axis by axis, which a rotation would change.
    """
    ours, theirs = _parts(block, attention, heads), _parts(target, attention, heads)
    q, k, v, o = (torch.einsum("iax,jbx->ijab", their, our) for their, our in zip(theirs, ours, strict=True))
    qk, vo = q + k, v + o  # (heads of the target, heads, axes, axes)
    along = torch.linalg.svdvals(qk).sum(-1) if rotate_qk else qk.diagonal(dim1=-2, dim2=-1).sum(-1)
    order = best_order(along + torch.linalg.svdvals(vo).sum(-1))
    pairs = torch.arange(heads)
    turn_qk = _nearest_rotation(qk[pairs, order]) if rotate_qk else None
    moved = permute_heads(block, attention, heads, order)
    return rotate_heads(moved, attention, turn_qk, _nearest_rotation(vo[pairs, order]))


def _parts(block: Block, attention: tuple[str, str], heads: int) -> tuple[Tensor, ...]:
    """Queries, keys, values and outputs, each (heads, axes, width), but for outputs with their bias in the last column."""
    qkv, proj = attention
    q, k, v = rows(block, qkv).unflatten(0, (3, heads, -1))
    return q, k, v, block[f"{proj}.weight"].T.unflatten(0, (heads, -1))


def _nearest_rotation(products: Tensor) -> Tensor:
    """(.., n, n): the orthogonal R that brings A nearest to B, from B A^T (orthogonal Procrustes; Schoenemann 1966)."""
    u, _, vh = torch.linalg.svd(products)
    return u @ vh
