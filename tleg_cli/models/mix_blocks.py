"""Networks of any depth from a trained one: each block is a combination of its blocks, which may be one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.expand import combine, expand
from tleg_cli.learngene.expansion import ends_a_branch
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.branches import rule_for

Rows = Callable[[int, int], Tensor]  # (blocks, trained blocks) -> (blocks, trained blocks)


def mix_blocks(source: Learngene, depth: Depth, rows: Rows, step: str) -> dict[str, Tensor]:
    """W_l = s * sum_k rows(L, D)[l, k] * W_k, for block l of L and the D blocks that the source has at its trained depth.

    s is the residual step, (D / L) ** p or that of `repeats`, for the weights that end a branch, else 1. Everything outside the
    stages stays as it is.
    Raises ConfigError for a matrix of another shape.
    """
    metadata = source.metadata
    rule = rule_for(metadata.backbone, metadata.options, "tleg", step)
    weights = dict(source.shared)
    for name, stack, matrix in mixtures(source, depth, rows):
        if ends_a_branch(name, rule.branch_ends):
            matrix = rule.steps(matrix, torch.eye(matrix.shape[1], dtype=torch.float64))[:, None] * matrix
        weights |= combine(name, stack, matrix.tolist())
    return weights


def mixtures(source: Learngene, depth: Depth, rows: Rows) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Of every weight of a block: its name with a `*`, those of the trained blocks (trained, *shape), and rows(blocks, trained) float64."""
    blocks = expand(source, source.metadata.depth)
    for name in source.theta:
        stage = source.stage_of(name)
        assert stage is not None  # Learngene checks it
        wanted, trained = depth[stage], source.metadata.depth[stage]
        matrix = rows(wanted, trained).double()
        if tuple(matrix.shape) != (wanted, trained):
            raise ConfigError(f"rows({wanted}, {trained}) has shape {tuple(matrix.shape)}, not ({wanted}, {trained})")
        yield name, torch.stack([blocks[name.replace("*", str(block), 1)] for block in range(trained)]), matrix
