"""expand: the formula. One pure, differentiable function, used inside the aux net and by the `expand` command."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tleg_cli.learngene.depths import Depth, complete_depth
from tleg_cli.learngene.expansion import ends_a_branch
from tleg_cli.learngene.gene import Learngene


def expand(learngene: Learngene, depth: Depth | int) -> dict[str, Tensor]:
    """The weights of a network of `depth` blocks, by their names in that network (its state dict).

    depth: blocks of each stage; one number sets the deepest stage. Shared tensors are returned as they are, not copied.
    W_l = step * sum_k basis[l, k] * theta_k; for the linear basis theta_B + (l / L) * theta_A (TLEG, eq. 2). step is 1, but for
    the weights that end a residual branch where the learngene's expansion rule says otherwise.
    Raises ConfigError if the learngene has another number of stages.
    """
    asked = (depth,) if isinstance(depth, int) else depth
    full = complete_depth(asked, learngene.metadata.depth, learngene.metadata.backbone)
    rule, trained = learngene.expansion, learngene.metadata.depth
    matrices = [rule.matrix(learngene.basis, *blocks) for blocks in zip(full, trained, strict=True)]
    scales = [rule.scale(*blocks) for blocks in zip(full, trained, strict=True)]
    weights = dict(learngene.shared)
    for name, theta in learngene.theta.items():
        stage = learngene.stage_of(name)
        assert stage is not None  # Learngene checks it
        step = scales[stage] if ends_a_branch(name, rule.branch_ends) else 1.0
        parts = theta.unbind(0)
        for block, coefficients in enumerate((step * matrices[stage]).tolist()):
            weights[name.replace("*", str(block), 1)] = _combine(parts, coefficients)
    return weights


def _combine(parts: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    """sum_k coefficients[k] * parts[k], without a matrix product: autocast and TF32 would round one."""
    total: Tensor | None = None
    for part, coefficient in zip(parts, coefficients, strict=True):
        if coefficient == 0:
            continue
        if total is None:
            total = part.clone() if coefficient == 1 else part * coefficient
        else:
            total = torch.add(total, part, alpha=coefficient)
    return torch.zeros_like(parts[0]) if total is None else total
