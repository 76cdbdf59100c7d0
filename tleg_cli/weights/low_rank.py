"""Thetas that a learngene's file keeps as their mean and residuals of low rank: what its header says of them. Needs no torch.

theta_k = mean + left_k @ right_k. The file has `mean/NAME`, with the shape of one block's weight, `left/NAME` (rows, sum of the ranks) and
`right/NAME` (sum of the ranks, columns), all thetas one after the other. rows is the first dimension of the weight, columns the product of
the rest.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tleg_cli.weights.header import Factors, Header, TensorInfo

LOW_RANK = "low_rank"  # in the file's metadata: {NAME: [the rank of each theta_k's residual]}
PARTS = ("mean", "left", "right")
MAX_THETAS = 64  # as of a basis
_MAX_RANK = 1_000_000


def with_thetas(header: Header) -> Header:
    """With `theta/NAME` (thetas, *shape) in place of the parts that it is made from. Raises ValueError for parts that don't fit."""
    ranks = header.tleg.get(LOW_RANK)
    if ranks is None:
        return header
    if not isinstance(ranks, dict) or not all(_are_ranks(value) for value in ranks.values()):
        raise ValueError(f"{LOW_RANK} {repr(ranks)[:80]} should be a table of lists of 1 to {MAX_THETAS} ranks")
    tensors, factors = dict(header.tensors), {}
    for name, its_ranks in ranks.items():
        keys = [f"{part}/{name}" for part in PARTS]
        if missing := [key for key in keys if key not in tensors]:
            raise ValueError(f"{missing[0]} is missing; {LOW_RANK} names {name[:200]!r}")
        if f"theta/{name}" in tensors:
            raise ValueError(f"theta/{name} is there both complete and in parts")
        parts = {key: tensors.pop(key) for key in keys}
        mean, left, right = parts.values()
        _check(name, mean, left, right, sum(its_ranks))
        tensors[f"theta/{name}"] = TensorInfo((len(its_ranks), *mean.shape), mean.dtype)
        factors[f"theta/{name}"] = Factors(parts, tuple(its_ranks))
    return replace(header, tensors=tensors, factors=factors)


def _are_ranks(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_THETAS
        and all(type(rank) is int and 0 <= rank <= _MAX_RANK for rank in value)
    )


def _check(name: str, mean: TensorInfo, left: TensorInfo, right: TensorInfo, rank: int) -> None:
    if len(mean.shape) < 2 or not mean.floating or {left.dtype, right.dtype} != {mean.dtype}:
        raise ValueError(f"mean, left and right of {name[:200]!r} should be matrices of the same floating-point dtype")
    rows, columns = mean.shape[0], math.prod(mean.shape[1:])
    if (left.shape, right.shape) != ((rows, rank), (rank, columns)):
        raise ValueError(
            f"left and right of {name[:200]!r} have shapes {list(left.shape)} and {list(right.shape)}, but mean {list(mean.shape)} "
            f"and ranks of {rank} in all need {[rows, rank]} and {[rank, columns]}"
        )
