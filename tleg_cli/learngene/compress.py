"""A learngene in fewer values: what distinguishes its thetas as residuals of low rank about their mean.

The nearest matrix of rank r is the truncated SVD (Eckart and Young 1936). Ranks differ from matrix to matrix: of the singular values of all
residuals, those are kept that carry the most energy for the values they take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.gene import Learngene
from tleg_cli.one_thread import one_thread
from tleg_cli.weights.open import theta_of

_NOISE = 1e-13  # of the largest squared singular value: below it, float64 has none


@dataclass(frozen=True)
class LowRank:
    """theta_k = mean + left_k @ right_k.

    mean: (*shape of one block's weight). left: (rows, sum of ranks). right: (sum of ranks, columns).
    """

    mean: Tensor
    left: Tensor
    right: Tensor
    ranks: tuple[int, ...]

    def theta(self) -> Tensor:
        """(thetas, *shape), with the values that a reader of the file gets."""
        return theta_of(self.mean, self.left, self.right, self.ranks)

    def numel(self) -> int:
        """How many values are stored."""
        return self.mean.numel() + self.left.numel() + self.right.numel()


@dataclass(frozen=True)
class Compressed:
    """learngene: with the thetas that the file gives. low_rank: how it is written, see write_learngene.

    kept: which share of what distinguishes the thetas (the squared residuals of all matrices) is left.
    """

    learngene: Learngene
    low_rank: Mapping[str, LowRank]
    kept: float


@dataclass(frozen=True)
class _Residuals:
    """theta_k - mean as matrices (rows, columns), and their singular values and vectors on the shorter side, the largest first.

    energy: (thetas, n) float64, squared singular values. vectors: (thetas, n, n) float32, one in each column.
    """

    theta: Tensor
    mean: Tensor
    energy: Tensor
    vectors: Tensor

    @property
    def price(self) -> int:
        """How many values a rank more of one theta takes."""
        return len(self.mean) + self.mean[0].numel()

    def cut(self, ranks: tuple[int, ...]) -> LowRank:
        """The truncated SVD of each. Both factors take the root of the singular values: so both have about the same range."""
        lefts, rights = zip(*(self._factors(k, rank) for k, rank in enumerate(ranks)), strict=True)
        left, right = torch.cat(lefts, 1), torch.cat(rights, 0)
        return LowRank(self.mean, left.to(self.mean.dtype), right.to(self.mean.dtype), ranks)

    def _factors(self, k: int, rank: int) -> tuple[Tensor, Tensor]:
        """(rows, rank), (rank, columns) float64. What the vectors span is projected on, so that their rounding costs nothing."""
        matrix, vectors = _matrix(self.theta[k], self.mean), self.vectors[k, :, :rank].double()
        roots = self.energy[k, :rank] ** 0.25
        if matrix.shape[0] < matrix.shape[1]:
            return vectors * roots, (vectors.T @ matrix) / roots[:, None]
        return (matrix @ vectors) / roots, roots[:, None] * vectors.T


def compress(learngene: Learngene, keep: float) -> Compressed:
    """The learngene in at most the share `keep` of its values. Vectors (biases, norms) and what is shared are kept as they are.

    Raises ConfigError for a share that isn't between 0 and 1, or is too small for the means and what is kept.
    """
    if not 0 < keep < 1:
        raise ConfigError(f"keep {keep:g} should be a share between 0 and 1 of the values that are stored")
    learngene = replace(learngene, stored=None)
    matrices = {name: theta for name, theta in learngene.theta.items() if theta.ndim > 2 and len(theta) > 1}
    with one_thread():
        found = {name: _residuals(theta) for name, theta in matrices.items()}
    total = learngene.parameters()
    fixed = total - sum(learngene.theta[name].numel() - one.mean.numel() for name, one in found.items())
    if not found or fixed > keep * total:
        raise ConfigError(
            f"keep {keep:g} of {total:,} values is {int(keep * total):,}, but what can't be compressed takes {fixed:,}; "
            f"keep at least {-(-1000 * fixed // total) / 1000:g}"
        )
    ranks = _ranks(found, int(keep * total) - fixed)
    low_rank = {name: one.cut(ranks[name]) for name, one in found.items()}
    low_rank = {name: one for name, one in low_rank.items() if one.numel() < learngene.theta[name].numel()}
    theta = {name: low_rank[name].theta() if name in low_rank else whole for name, whole in learngene.theta.items()}
    smaller = sum(learngene.theta[name].numel() - one.numel() for name, one in low_rank.items())
    return Compressed(replace(learngene, theta=theta, stored=total - smaller), low_rank, _kept(found, ranks, low_rank))


def halved(learngene: Learngene) -> Learngene:
    """Its floating-point values in float16. Raises ConfigError for values that this can't hold."""
    theta = {name: _half(name, one) for name, one in learngene.theta.items()}
    shared = {name: _half(name, one) for name, one in learngene.shared.items()}
    return replace(learngene, theta=theta, shared=shared, network_check=None)


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise ConfigError(
            f"{name} has values above {torch.finfo(torch.float16).max:g}, which float16 can't hold; write float32"
        )
    return half


def _residuals(theta: Tensor) -> _Residuals:
    """By the eigenvectors of the products of rows or columns, in a fraction of the time and memory of complete decompositions."""
    theta = theta.detach()
    mean = theta.double().mean(0).to(theta.dtype)
    energy, vectors = [], []
    for one in theta:
        matrix = _matrix(one, mean)
        values, columns = torch.linalg.eigh(
            matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
        )
        energy.append(values.flip(0).clamp(min=0))
        vectors.append(columns.flip(1).float())
    return _Residuals(theta, mean, torch.stack(energy), torch.stack(vectors))


def _matrix(theta: Tensor, mean: Tensor) -> Tensor:
    return (theta.double() - mean.double()).flatten(1)


def _ranks(found: Mapping[str, _Residuals], budget: int) -> dict[str, tuple[int, ...]]:
    """budget: how many values all factors may take. The largest squared singular value for each of them first."""
    candidates = [
        (float(energy) / one.price, name, k, one.price)
        for name, one in found.items()
        for k, energies in enumerate(one.energy)
        for energy in energies
        if energy > _NOISE * energies[0]
    ]
    ranks = {name: [0] * len(one.energy) for name, one in found.items()}
    for _, name, k, price in sorted(candidates, key=lambda one: -one[0]):  # stable: equal ones in the file's order
        if price > budget:
            break
        budget -= price
        ranks[name][k] += 1
    return {name: tuple(its) for name, its in ranks.items()}


def _kept(
    found: Mapping[str, _Residuals], ranks: Mapping[str, tuple[int, ...]], low_rank: Mapping[str, LowRank]
) -> float:
    total = kept = 0.0
    for name, one in found.items():
        energy = one.energy
        total += float(energy.sum())
        kept += float(
            sum(values[:rank].sum() for values, rank in zip(energy, ranks[name], strict=True))
            if name in low_rank
            else energy.sum()
        )
    return kept / total if total else 1.0
