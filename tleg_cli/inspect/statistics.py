"""Statistics of one tensor: moments, range, spectrum, histogram, and how many of its numbers are none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 48
MAX_SIDE = 4096  # of a matrix whose spectrum is computed: beyond, its eigenvalues would take minutes


@dataclass(frozen=True)
class Statistics:
    """Of the finite numbers; None where there are none, or, for the spectrum, where the tensor is not a
    matrix, holds NaN or Inf, or has a smaller side above 4096.

    std: of the population (divided by n). norm: Euclidean. spectral_norm: the largest singular value of the tensor as
    (first dimension, all others). effective_rank: exp of the entropy of the normalised singular values (Roy and
    Vetterli, EUSIPCO 2007), from 1 to the smaller side. histogram: counts in 48 equal bins from min to max.
    """

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    norm: float | None
    nan: int
    inf: int
    spectral_norm: float | None
    effective_rank: float | None
    histogram: tuple[int, ...]


def statistics(tensor: Tensor, *, spectrum: bool = True) -> Statistics:
    """The statistics of a tensor of any dtype, computed in float64."""
    values = tensor.detach().reshape(-1)
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj()).reshape(-1)
    values = values.to(torch.float64, copy=True)
    total = float(values.sum())
    nan = inf = 0
    if total - total != 0:  # only then is there anything to count
        nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
        values = values[values.isfinite()]
    if not len(values):
        return Statistics(None, None, None, None, None, nan, inf, None, None, ())
    low, high = (float(value) for value in torch.aminmax(values))
    std, mean = (float(value) for value in torch.std_mean(values, correction=0))
    norm = float(torch.linalg.vector_norm(values))
    matrix = tensor.ndim > 1 and spectrum and not nan and not inf and not tensor.is_complex()
    matrix = matrix and min(len(tensor), tensor.numel() // len(tensor)) <= MAX_SIDE
    scale = max(abs(low), abs(high)) or 1.0  # numbers up to 1: their squares neither overflow nor vanish
    values /= scale
    largest, rank = _spectrum(values.reshape(len(tensor), -1), scale) if matrix else (None, None)
    return Statistics(
        mean, std, low, high, norm, nan, inf, largest, rank, _histogram(values, low / scale, high / scale)
    )


def _spectrum(matrix: Tensor, scale: float) -> tuple[float, float | None]:
    """The largest singular value and the effective rank, from the eigenvalues of the smaller Gram matrix."""
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    singular = torch.linalg.eigvalsh(small @ small.T).clamp(min=0).sqrt()
    largest = float(singular[-1])
    if largest == 0:
        return 0.0, None
    shares = singular / singular.sum()
    entropy = -torch.special.xlogy(shares, shares).sum()  # 0 log 0 = 0
    return largest * scale, float(entropy.exp())


def _histogram(values: Tensor, low: float, high: float) -> tuple[int, ...]:
    if low == high:
        return (len(values),)
    bins = ((values - low) * (BINS / (high - low))).int().clamp_(max=BINS - 1)
    return tuple(torch.bincount(bins, minlength=BINS).tolist())
