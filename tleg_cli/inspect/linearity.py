"""Is depth linear? R^2 of the layers against each basis, compared with chance; their PCA; their norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tleg_cli.inspect.document import BasisFit, Components, Linearity
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.gram import Gram, expected_r_squared, principal, r_squared, shuffled_r_squared

USUAL_BASES = ("constant", "linear", "polynomial:2", "piecewise:3", "hat:3")


def linearity(of: Gram, bases: Sequence[Basis]) -> Linearity:
    """Plain values of one Gram: see docs/inspect-json.md. R^2 is None where the layers don't differ or there is one."""
    layers = of.layers
    products = of.products()
    total = float(products.diagonal().sum())
    common = layers * of.mean / total if total else None
    return {
        "layers": layers,
        "variation": finite(of.variation()),
        "common": finite(common),  # the share of the squared weights that the mean layer has
        "common_random": 1 / layers,
        "bases": _bases(of, bases),
        "pca": _pca(of),
        "norms": [finite(value) for value in of.norms().tolist()],
    }


def _bases(of: Gram, bases: Sequence[Basis]) -> list[BasisFit]:
    matrices = [basis.matrix(of.layers) for basis in bases]
    random = [expected_r_squared(matrix) for matrix in matrices]
    with_constant = [matrix for matrix, value in zip(matrices, random, strict=True) if value is not None]
    shuffled = shuffled_r_squared(of, with_constant) if of.layers > 1 and with_constant else None
    columns = iter(shuffled.unbind(1) if shuffled is not None else ())
    rows: list[BasisFit] = []
    for basis, matrix, expected in zip(bases, matrices, random, strict=True):
        found = r_squared(of, matrix) if of.layers > 1 else None
        column = next(columns, None) if expected is not None else None
        column = None if expected == 0 else column  # `constant` is 0 in any order
        quantile, share = _shuffled(found, column, of.layers)
        rows.append(
            {
                "basis": basis.name,
                "rank": basis.rank,
                "r2": found if found is None else round(found, 12),
                "random": finite(expected),
                "shuffled_95": quantile,
                "p": share,
            }
        )
    return rows


def _shuffled(found: float | None, column: Tensor | None, layers: int) -> tuple[float | None, float | None]:
    """The 95 % quantile over other orders of the layers, and the share of orders that do as well as the real one."""
    if found is None or column is None:
        return None, None
    as_good = int((column >= found - 1e-9).sum())
    complete = len(column) == math.factorial(layers) if layers <= 6 else False
    share = as_good / len(column) if complete else (as_good + 1) / (len(column) + 1)
    return finite(float(torch.quantile(column, 0.95))), share


def _pca(of: Gram) -> Components | None:
    """explained: shares of the variation. places: of each layer, on the first components, in units of the weights."""
    if of.layers < 2 or r_squared(of, torch.ones(of.layers, 1, dtype=torch.float64)) is None:
        return None
    explained, places = principal(of)
    return {
        "explained": [finite(value) for value in explained.tolist()],
        "places": [[finite(value) for value in row] for row in places.tolist()],
    }


def finite(value: Any) -> Any:
    """JSON has no NaN or Inf: they become None, and the counts say how many there were."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
