"""expand: the formula. One pure, differentiable function, used inside the aux net and by the `expand` command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from tleg_cli.learngene.depths import Depth, complete_depth
from tleg_cli.learngene.expansion import ends_a_branch
from tleg_cli.learngene.gene import Learngene
from tleg_cli.weights.save import Later, at_once


def expand(learngene: Learngene, depth: Depth | int) -> dict[str, Tensor]:
    """The weights of a network of `depth` blocks, by their names in that network (its state dict).

    depth: blocks of each stage; one number sets the deepest stage. Shared tensors are returned as they are, not copied.
    W_l = step * sum_k basis[l, k] * theta_k; for the linear basis theta_B + (l / L) * theta_A (TLEG, eq. 2). step is 1, but for
    the weights that end a residual branch where the learngene's expansion rule says otherwise.
    Raises ConfigError if the learngene has another number of stages.
    """
    weights = dict(learngene.shared)
    for name, matrix in coefficients_at(learngene, depth).items():
        weights |= combine(name, learngene.theta[name], matrix.tolist())
    return weights


def expand_later(learngene: Learngene, depth: Depth | int) -> dict[str, Later]:
    """The same weights, each made only when it is asked for: a file takes one after the other."""
    later = {name: at_once(tensor) for name, tensor in learngene.shared.items()}
    for name, matrix in coefficients_at(learngene, depth).items():
        theta = learngene.theta[name]
        parts, shape = theta.unbind(0), tuple(theta.shape[1:])
        for block, row in enumerate(matrix.tolist()):
            later[_numbered(name, block)] = Later(shape, theta.dtype, partial(_combine, parts, row))
    return later


def coefficients_at(learngene: Learngene, depth: Depth | int) -> dict[str, Tensor]:
    """(blocks of its stage, rank) float64 for each theta: step * basis, what expand combines it with.

    Raises ConfigError if the learngene has another number of stages.
    """
    asked = (depth,) if isinstance(depth, int) else depth
    full = complete_depth(asked, learngene.metadata.depth, learngene.metadata.backbone)
    rule, trained = learngene.expansion, learngene.metadata.depth
    matrices = [rule.matrix(learngene.basis, *blocks) for blocks in zip(full, trained, strict=True)]
    at_trained = [rule.matrix(learngene.basis, blocks, blocks) for blocks in trained]
    steps = [rule.steps(*rows)[:, None] for rows in zip(matrices, at_trained, strict=True)]
    found = {}
    for name in learngene.theta:
        stage = learngene.stage_of(name)
        assert stage is not None  # Learngene checks it
        found[name] = steps[stage] * matrices[stage] if ends_a_branch(name, rule.branch_ends) else matrices[stage]
    return found


def combine(name: str, theta: Tensor, coefficients: Sequence[Sequence[float]] | Tensor) -> dict[str, Tensor]:
    """The weight `name` (with a `*`) of every block, by its name there. coefficients: (blocks, rank); a tensor may be trained."""
    parts = theta.unbind(0)
    rows: list[Sequence[float] | Tensor] = [*coefficients]
    return {_numbered(name, block): _combine(parts, row) for block, row in enumerate(rows)}


def _numbered(name: str, block: int) -> str:
    return name.replace("*", str(block), 1)


def _combine(parts: Sequence[Tensor], coefficients: Sequence[float] | Tensor) -> Tensor:
    """sum_k coefficients[k] * parts[k], without a matrix product: autocast and TF32 would round one."""
    total: Tensor | None = None
    if isinstance(coefficients, Tensor):  # all of them, because one that is 0 now has a gradient
        for part, weight in zip(parts, coefficients.unbind(0), strict=True):
            total = part * weight if total is None else torch.addcmul(total, part, weight)
        assert total is not None  # a basis has at least one weight
        return total
    for part, coefficient in zip(parts, coefficients, strict=True):
        if coefficient == 0:
            continue
        if total is None:
            total = part.clone() if coefficient == 1 else part * coefficient
        else:
            total.add_(part, alpha=coefficient)  # a tensor of our own, which no gradient needs
    return torch.zeros_like(parts[0]) if total is None else total
