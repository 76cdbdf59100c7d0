"""Bases: how the weights of block l of an L-block stage follow from the learngene, W_l = sum_k basis[l, k] * theta_k.

A basis is a matrix for every depth and nothing else. `linear` is TLEG; the others are the published alternatives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tleg_cli.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Basis:
    """`matrix(depth)` gives the (depth, rank) float64 matrix; `name` is what files and presets call it.

    `directions[k]` says that theta_k is added to the others (theta_A of TLEG) and isn't a block by itself: what starts
    as a constant in a fresh network (biases, norms) starts as 0 there.
    `at` gives the same matrix as a function of positions, (depth,) float64 in 0..1 -> (depth, rank): `matrix(depth)` is
    `at(l / depth)`. Without it the basis has TLEG's positions only.
    """

    name: str
    rank: int
    matrix: Callable[[int], Tensor]
    directions: tuple[bool, ...]
    at: Callable[[Tensor], Tensor] | None = None


def positions(depth: int) -> Tensor:
    """l / L for l = 0 .. L-1: the first block is at 0, and 1 is never reached (TLEG, eq. 2; the reference code agrees)."""
    return torch.arange(depth, dtype=torch.float64) / depth


At = Callable[[Tensor], Tensor]  # positions (depth,) -> matrix (depth, rank)


def _powers(degree: int) -> At:
    return lambda at: torch.stack([at**power for power in range(degree + 1)], dim=1)


def _pieces(pieces: int) -> At:
    """Block l takes theta_k of the piece it lies in (weight sharing by stages: SWS, arXiv 2404.16897)."""
    return lambda at: torch.eye(pieces, dtype=torch.float64)[(at * pieces).floor().long().clamp(max=pieces - 1)]


def _hats(knots: int) -> At:
    """Piecewise linear through `knots` weights at positions 0, 1/(knots-1), .., 1."""
    return lambda at: (1 - (at[:, None] * (knots - 1) - torch.arange(knots, dtype=torch.float64)).abs()).clamp(min=0)


def _cosines(count: int) -> At:
    """1 and (cos(pi k t) - 1) / 2 for k below `count`: the curves of the first cosines over the depth (FRONT keeps the lowest frequencies
    of a trained network's DCT, arXiv 2603.07523), with theta_0 as the first block and no column above 1, as in the other bases."""
    return lambda at: torch.stack(
        [torch.ones_like(at), *(((at * (math.pi * k)).cos() - 1) / 2 for k in range(1, count))], dim=1
    )


def _basis(name: str, rank: int, at: At, directions: tuple[bool, ...]) -> Basis:
    return Basis(name, rank, lambda depth: at(positions(depth)), directions, at)


# name -> (default size, smallest size, what the size counts, build)
_SIZED: dict[str, tuple[int, int, str, Callable[[int], At]]] = {
    "polynomial": (2, 1, "degree", _powers),
    "piecewise": (3, 1, "pieces", _pieces),
    "hat": (3, 2, "knots", _hats),
    "cosine": (3, 1, "cosines", _cosines),
}
MAX_SIZE = 64
RANKED = "ranked"


def ranked(order: Sequence[int]) -> Basis:
    """Blocks of a trained network, the most important first: depth L takes the first L of them in the network's own order.

    Deeper than the network, blocks are repeated by turns, the least important one first, and the most important one never: it is mostly
    the first block, whose output isn't like its input. Raises ConfigError unless `order` has each of 0..N-1 once.
    """
    blocks = len(order)
    if not 1 <= blocks <= MAX_SIZE or sorted(order) != list(range(blocks)):
        raise ConfigError(f"basis {RANKED}: {order} must have each of 0 to N-1 once, N at most {MAX_SIZE}")

    def matrix(depth: int) -> Tensor:
        repeated = itertools.islice(itertools.cycle(order[:0:-1] or order), max(0, depth - blocks))
        return torch.eye(blocks, dtype=torch.float64)[sorted([*order[:depth], *repeated])]

    return Basis(f"{RANKED}:{'-'.join(map(str, order))}", blocks, matrix, (False,) * blocks)


def _ranking(text: str, name: str) -> list[int]:
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
        raise ConfigError(f"basis {name!r}: write the blocks, the most important first, as in {RANKED}:2-0-1")
    return [int(part) for part in parts]


def basis_names() -> list[str]:
    """The built-in names, as a user writes them."""
    return ["constant", "linear", *(f"{name}:{size}" for name, (size, *_) in _SIZED.items())]


def get_basis(name: str, more: Iterable[Basis] = ()) -> Basis:
    """The basis called `name`: `linear`, `constant`, `polynomial:2`, `piecewise:3`, `hat:3`, `cosine:3`, `ranked:2-0-1`, or one of `more`.

    Raises ConfigError for an unknown name.
    """
    others = {basis.name: basis for basis in more}
    if name in others:
        return others[name]
    if name == "constant":
        return _basis(name, 1, _powers(0), (False,))
    if name == "linear":
        return _basis(name, 2, _powers(1), (False, True))
    kind, _, size_text = name.partition(":")
    if kind == RANKED:
        return ranked(_ranking(size_text, name))
    if kind not in _SIZED:
        known = [*basis_names(), *others]
        raise ConfigError(f"basis {name!r} is unknown.{did_you_mean(name, known)}")
    default, smallest, counts, build = _SIZED[kind]
    if size_text and not (size_text.isascii() and size_text.isdigit()):
        raise ConfigError(f"basis {name!r}: {counts} must be a whole number, as in {kind}:{default}")
    size = int(size_text[:9]) if size_text else default
    if not smallest <= size <= MAX_SIZE:
        raise ConfigError(f"basis {name!r}: {counts} must be from {smallest} to {MAX_SIZE}")
    rank = size + 1 if kind == "polynomial" else size
    directions = (False,) + (kind in ("polynomial", "cosine"),) * (rank - 1)
    return _basis(f"{kind}:{size}", rank, build(size), directions)
