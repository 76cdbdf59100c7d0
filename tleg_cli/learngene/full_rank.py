"""A trained network as a learngene of full rank: at its own depth it gives every weight back as it was.

Basis piecewise:N, N the blocks of the deepest stage. Shallower networks take blocks evenly, deeper ones repeat them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expansion import Expansion
from tleg_cli.learngene.fit import check_blocks, precise
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.weights.stacks import find_stacks


def full_rank(
    weights: Mapping[str, Tensor], stages: Sequence[str], metadata: Metadata, expansion: Expansion
) -> Learngene:
    """`expand(full_rank(..), metadata.depth)` has the values of `weights`, bit by bit where they are float32.

    weights: the network's state dict; metadata.depth: the blocks of each stage. A stage with fewer blocks than N stores each of them
    several times. Raises FileFormatError for blocks that are missing, unequal, not finite or made of integers.
    """
    stacks = find_stacks({name: tuple(tensor.shape) for name, tensor in weights.items()}, stages)
    check_blocks(weights, stages, stacks, metadata.depth)
    pieces = max(metadata.depth)
    blocks = dict(zip(stages, metadata.depth, strict=True))
    members = {member for stack in stacks for member in stack.members}
    theta = {
        stack.name: torch.stack(
            [precise(weights[stack.members[one]]) for one in _block_of_each_piece(blocks[stack.stage], pieces)]
        )
        for stack in stacks
    }
    shared = {name: precise(tensor) for name, tensor in weights.items() if name not in members}
    return Learngene(theta, shared, tuple(stages), get_basis(f"piecewise:{pieces}"), metadata, expansion)


def _block_of_each_piece(blocks: int, pieces: int) -> list[int]:
    """Block l takes piece floor(l * pieces / blocks); the pieces after it, up to the next block's, hold the same weights."""
    return [max(block for block in range(blocks) if block * pieces // blocks <= piece) for piece in range(pieces)]
