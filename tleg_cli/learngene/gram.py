"""Everything across layers from one small matrix: the inner products of the layers with each other, read chunk by chunk.

R^2 against any basis, the PCA of the layers, norms and angles of theta all follow from it, exactly and for any size.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 16  # values of each layer at a time: 12 layers in float64 are 6 MB, which fit in a cache
SHUFFLES = 1000
_SHUFFLE_NUMBERS = 20_000_000  # at most so many per stack, so that a thousand layers stay possible


@dataclass(frozen=True)
class Gram:
    """Layers X (layers, numbers) as inner products, in float64, split at the mean layer m so that nothing cancels.

    centred: (layers, layers), (X - m)(X - m)^T.   along: (layers,), (X - m) m.   mean: m . m.   numbers: values in one layer.
    The Gram of several concatenated tensors is the sum of theirs: so modules and complete networks are measured.
    """

    centred: Tensor
    along: Tensor
    mean: float
    numbers: int

    def __add__(self, other: Gram) -> Gram:
        return Gram(
            self.centred + other.centred, self.along + other.along, self.mean + other.mean, self.numbers + other.numbers
        )

    @property
    def layers(self) -> int:
        return len(self.along)

    def products(self) -> Tensor:
        """(layers, layers): X X^T."""
        return self.centred + self.along[:, None] + self.along[None, :] + self.mean

    def norms(self) -> Tensor:
        """(layers,): the Euclidean norm of each layer."""
        return self.products().diagonal().clamp(min=0).sqrt()

    def variation(self) -> float:
        """Total sum of squares about the mean layer: what R^2 has to explain."""
        return float(self.centred.diagonal().sum())


def gram(layers: Sequence[Tensor]) -> Gram:
    """The Gram of equally shaped layers, on the CPU in float64, 65,536 values of each at a time."""
    flat = [layer.detach().reshape(-1) for layer in layers]
    centred = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    along = torch.zeros(len(flat), dtype=torch.float64)
    mean = 0.0
    for start in range(0, flat[0].numel(), CHUNK):
        chunk = torch.stack([layer[start : start + CHUNK] for layer in flat]).double()
        middle = chunk.mean(0)
        chunk -= middle
        centred += chunk @ chunk.T
        along += chunk @ middle
        mean += float(middle @ middle)
    return Gram(centred, along, mean, flat[0].numel())


@functools.lru_cache(maxsize=64)
def _hat(key: tuple[tuple[float, ...], ...]) -> Tensor:
    """H = B B^+, the projection on the columns of a basis matrix."""
    basis = torch.tensor(key, dtype=torch.float64)
    return basis @ torch.linalg.pinv(basis)


def projection(basis: Tensor) -> Tensor:
    """(layers, layers): the projection on the columns of `basis` (layers, rank)."""
    return _hat(tuple(map(tuple, basis.tolist())))


def r_squared(of: Gram, basis: Tensor) -> float | None:
    """1 - (what least squares leaves) / (variation about the mean layer), for a basis matrix (layers, rank).

    1: every layer is basis @ theta. 0: no better than one mean layer for all, which is what `constant` gives. Below 0
    only for a basis that can't express a constant. None where the layers don't differ, or aren't finite.
    """
    total = of.variation()
    if not _varies(of):
        return None
    outside = torch.eye(of.layers, dtype=torch.float64) - projection(basis)
    ones = outside.sum(1)  # what of the mean layer the basis can't express; 0 for all built-in bases
    ones[ones.abs() < 1e-9] = 0  # but for rounding, which a large mean layer would make visible
    left = (outside * of.centred).sum() + 2 * (ones * of.along).sum() + of.mean * ones.sum()
    return float(1 - left / total)


def _varies(of: Gram) -> bool:
    """Whether layers differ by more than the rounding of float64 would make of equal ones."""
    total = of.variation()
    return total == total and total > 1e-24 * (of.mean * of.layers + total) and total != float("inf")


def expected_r_squared(basis: Tensor) -> float | None:
    """(K - 1) / (L - 1): the mean R^2 of independent random layers, and of these layers over all their orders.

    K: the rank of `basis` (layers L, rank), which must contain the constant; None if it doesn't, or for one layer.
    """
    layers = len(basis)
    hat = projection(basis)
    ones = torch.ones(layers, dtype=torch.float64)
    if layers < 2 or not torch.allclose(hat @ ones, ones, atol=1e-9):
        return None
    return (round(float(hat.diagonal().sum())) - 1) / (layers - 1)


@functools.lru_cache(maxsize=32)
def shuffles(layers: int) -> Tensor:
    """(orders, layers): all orders of up to 6 layers, 1000 random ones (seed 0) of more, fewer beyond 140."""
    if layers <= 6:
        return torch.tensor(list(itertools.permutations(range(layers))))
    count = max(20, min(SHUFFLES, _SHUFFLE_NUMBERS // layers**2))
    random = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(layers, generator=random) for _ in range(count)])


def shuffled_r_squared(of: Gram, bases: Sequence[Tensor]) -> Tensor | None:
    """(orders, bases): R^2 with the layers in other orders. The projections must contain the constant."""
    total = of.variation()
    if not _varies(of):
        return None
    hats = torch.stack([projection(basis).flatten() for basis in bases], dim=1)
    orders = shuffles(of.layers)
    step = max(1, 2_000_000 // of.layers**2)
    parts = [of.centred[part[:, :, None], part[:, None, :]].flatten(1) @ hats / total for part in orders.split(step)]
    return torch.cat(parts)


def theta_products(of: Gram, basis: Tensor) -> Tensor:
    """(rank, rank): inner products of the least-squares thetas, theta = B^+ X, so B^+ X X^T B^+^T."""
    inverse = torch.linalg.pinv(basis)
    return inverse @ of.products() @ inverse.T


def principal(of: Gram, components: int = 3) -> tuple[Tensor, Tensor]:
    """PCA of the layers: (share of the variation per component), (layers, components) places on them.

    The signs are chosen so that the last layer lies on the positive side of the first.
    """
    values, vectors = torch.linalg.eigh(of.centred)
    values = values.flip(0).clamp(min=0)[:components]
    places = vectors.flip(1)[:, :components] * values.sqrt()
    places = torch.where(places[-1] < places[0], -places, places)
    return values / of.variation(), places
