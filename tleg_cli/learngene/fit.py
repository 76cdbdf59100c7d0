"""fit: the learngene of a trained network in closed form, by least squares over its layers, tensor by tensor.

For block l of L the formula is W_l = sum_k basis[l, k] * theta_k, so theta = B^+ W, B^+ the pseudo-inverse of the basis.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.learngene.gram import CHUNK, expected_r_squared, gram
from tleg_cli.one_thread import one_thread
from tleg_cli.weights.open import first_not_finite
from tleg_cli.weights.stacks import Stack, find_stacks


@dataclass(frozen=True)
class StackFit:
    """How well the learngene reproduces one weight in all blocks of a stage.

    numbers: how many values that is. left: the sum of squares of what the learngene misses. variation: that of the layers
    about their mean. random: the R^2 that independent random layers would have; None if it can't be computed.
    """

    name: str
    stage: str
    module: str
    numbers: int
    left: float
    variation: float
    random: float | None

    @property
    def r2(self) -> float | None:
        """1 - left / variation; None if all layers are equal."""
        return 1 - self.left / self.variation if self.variation > 0 else None


@dataclass(frozen=True)
class Fitted:
    """A learngene and how well it reproduces the network that it was fitted to."""

    learngene: Learngene
    stacks: Sequence[StackFit]


@one_thread()
def fit(weights: Mapping[str, Tensor], stages: Sequence[str], basis: Basis, metadata: Metadata) -> Fitted:
    """The learngene whose expansion is nearest to a network, in the sum of squares over all layers.

    weights: the network's state dict, name -> (any shape); the same name in all blocks of a stage has one shape.
    metadata.depth: the blocks of each stage. Everything outside the stages is shared and kept as it is; half precision and
    float8 become float32. Raises FileFormatError for blocks that are missing, unequal, not finite or made of integers,
    ConfigError for a basis with more thetas than a stage has blocks.
    """
    stacks = find_stacks({name: tuple(tensor.shape) for name, tensor in weights.items()}, stages)
    check_blocks(weights, stages, stacks, metadata.depth)
    matrices = {stage: _full_rank(basis, stage, depth) for stage, depth in zip(stages, metadata.depth, strict=True)}
    members = {member for stack in stacks for member in stack.members}
    theta = {stack.name: _theta([weights[name] for name in stack.members], matrices[stack.stage]) for stack in stacks}
    shared = {name: precise(tensor) for name, tensor in weights.items() if name not in members}
    learngene = Learngene(theta, shared, tuple(stages), basis, metadata)
    return Fitted(learngene, [_quality(learngene, stack, weights, matrices[stack.stage]) for stack in stacks])


def block_counts(names: Collection[str], stages: Sequence[str]) -> Depth:
    """How many blocks each stage has; 0 for a stage that is missing."""
    found: dict[str, set[str]] = {stage: set() for stage in stages}
    for name in names:
        for stage in stages:
            if name.startswith(f"{stage}."):
                found[stage].add(name.removeprefix(f"{stage}.").partition(".")[0])
    return tuple(len(numbers) for numbers in found.values())


def check_blocks(weights: Mapping[str, Tensor], stages: Sequence[str], stacks: Sequence[Stack], depth: Depth) -> None:
    """Raises FileFormatError unless every stage has its blocks, with equal shapes and finite floating-point numbers."""
    members = {member for stack in stacks for member in stack.members}
    for stage, blocks in zip(stages, depth, strict=True):
        of_stage = [stack for stack in stacks if stack.stage == stage]
        if not of_stage or any(stack.layers != tuple(range(blocks)) for stack in of_stage):
            raise FileFormatError(f"{stage} doesn't have the blocks 0 to {blocks - 1}, each with the same weights")
        for name in weights:
            if name.startswith(f"{stage}.") and name not in members:
                raise FileFormatError(f"{name} is not in every block of {stage} with the same shape")
    for name in sorted(members):
        if not weights[name].is_floating_point():
            raise FileFormatError(
                f"{name} holds {str(weights[name].dtype).removeprefix('torch.')}; only floating-point weights can be fitted"
            )
    if (broken := first_not_finite(weights)) is not None:
        raise FileFormatError(f"{broken} holds NaN or Inf; run `tleg inspect FILE --tensors --sort nan` to see where")


def _full_rank(basis: Basis, stage: str, depth: int) -> Tensor:
    """(depth, rank). With fewer blocks than thetas, least squares has no unique solution."""
    matrix = basis.matrix(depth)
    if int(torch.linalg.matrix_rank(matrix)) < basis.rank:
        raise ConfigError(
            f"basis {basis.name} has {basis.rank} thetas, but {stage} has {depth} block{'s' * (depth > 1)}, which don't determine "
            "them; choose a basis with fewer, such as constant"
        )
    return matrix


def _theta(layers: Sequence[Tensor], matrix: Tensor) -> Tensor:
    """(rank, *shape): B^+ W in float64, 65,536 values of each layer at a time."""
    inverse = torch.linalg.pinv(matrix)
    flat = [layer.detach().reshape(-1) for layer in layers]
    theta = torch.empty(matrix.shape[1], flat[0].numel(), dtype=precise(layers[0]).dtype)
    for start in range(0, flat[0].numel(), CHUNK):
        chunk = torch.stack([layer[start : start + CHUNK] for layer in flat]).double()
        theta[:, start : start + CHUNK] = inverse @ chunk
    return theta.reshape(-1, *layers[0].shape)


def precise(tensor: Tensor) -> Tensor:
    """Learngenes are trained on, so at least float32."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32) if tensor.itemsize > 1 else torch.float32)


def _quality(learngene: Learngene, stack: Stack, weights: Mapping[str, Tensor], matrix: Tensor) -> StackFit:
    """Measured on what expand() makes of the learngene, so that an error in the algebra would show."""
    alone = replace(learngene, theta={stack.name: learngene.theta[stack.name]}, shared={})
    grown = expand(alone, learngene.metadata.depth)
    left = sum(float((grown[name].double() - weights[name].double()).square().sum()) for name in stack.members)
    of = gram([weights[name] for name in stack.members])
    numbers = of.numbers * of.layers
    equal = of.variation() <= 1e-24 * (of.mean * of.layers + of.variation())  # rounding alone: the layers are the same
    return StackFit(
        stack.name,
        stack.stage,
        stack.module,
        numbers,
        left,
        0.0 if equal else of.variation(),
        expected_r_squared(matrix),
    )
