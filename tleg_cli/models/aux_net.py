"""The aux net of stage 1: a network whose blocks are the expanded learngene, at every step of training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.expansion import PUBLISHED, Expansion
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.models.build import build_model
from tleg_cli.models.shells import empty_stages, take_out_blocks, with_stages
from tleg_cli.plugin_manager import get_backbone


class AuxNet(nn.Module):
    """`call_with(skeleton, expand(learngene, depth), images)`: the same function as the descendant of the same depth.

    theta: the trained parameters, each (rank, *shape of one block's weight); the shared ones stay in the skeleton.
    undecayed: names in theta that the network itself keeps from weight decay, as Swin does its position bias tables.
    others: the stages without weights of further depths that it is trained at: see shells.empty_stages.
    """

    def __init__(
        self,
        skeleton: nn.Module,
        theta: dict[str, Tensor],
        stages: tuple[str, ...],
        basis: Basis,
        metadata: Metadata,
        undecayed: Collection[str] = (),
        expansion: Expansion = PUBLISHED,
        others: Mapping[Depth, nn.ModuleList] | None = None,
    ):
        super().__init__()
        self.skeleton = skeleton
        self.theta = nn.ParameterDict({key_of(name): nn.Parameter(tensor) for name, tensor in theta.items()})
        self.stages = stages
        self.basis = basis
        self.metadata = metadata
        self.undecayed = frozenset(undecayed)
        self.expansion = expansion
        self.others = nn.ModuleDict({format_depth(depth): stages for depth, stages in (others or {}).items()})

    def learngene(self) -> Learngene:
        """The learngene of this moment; its tensors are the live parameters."""
        return Learngene(
            theta={name_of(key): parameter for key, parameter in self.theta.items()},
            shared=self.skeleton.state_dict(keep_vars=True),
            stages=self.stages,
            basis=self.basis,
            metadata=self.metadata,
            expansion=self.expansion,
        )

    def forward(self, images: Tensor, depth: Depth | None = None) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, size, size), at the depth of the metadata or another one it was made for."""
        chosen = self.metadata.depth if depth is None else depth
        skeleton = self.skeleton
        if chosen != self.metadata.depth:
            skeleton = with_stages(skeleton, self.stages, [*self.others[format_depth(chosen)].children()])
        return call_with(skeleton, expand(self.learngene(), chosen), images)

    def no_weight_decay(self) -> set[str]:
        """What a plain network of this kind wouldn't decay: its own list, and every vector (biases, norms)."""
        shared = {f"skeleton.{name}" for name in _own_list(self.skeleton)}
        vectors = {key for key, parameter in self.theta.items() if parameter.ndim <= 2}
        return shared | {f"theta.{key}" for key in vectors | {key_of(name) for name in self.undecayed}}


def new_aux_net(
    backbone: Backbone,
    basis: Basis,
    metadata: Metadata,
    expansion: Expansion = PUBLISHED,
    depths: Sequence[Depth] = (),
    **training: float,
) -> AuxNet:
    """A freshly initialised aux net, from torch's generator. `training`: drop_rate, drop_path_rate.

    depths: those it is trained at; none: that of the metadata alone.
    """
    skeleton = build_model(backbone, metadata.options, metadata.depth, metadata.classes, **training)
    undecayed = _in_theta(_own_list(skeleton), backbone.stages)  # asked before the blocks are emptied
    blocks = take_out_blocks(skeleton, backbone.stages)
    if min(metadata.depth) < basis.rank:  # too few blocks to take each theta_k from one of its own
        depth = tuple(max(number, basis.rank) for number in metadata.depth)
        blocks = take_out_blocks(build_model(backbone, metadata.options, depth, metadata.classes), backbone.stages)
    theta = {
        f"{stage}.*.{name}": _initial([block[name] for block in blocks[stage][: basis.rank]], basis)
        for stage in backbone.stages
        for name in blocks[stage][0]
    }
    others = {
        depth: empty_stages(backbone, metadata.options, depth, metadata.classes, **training)
        for depth in depths
        if depth != metadata.depth
    }
    return AuxNet(skeleton, theta, backbone.stages, basis, metadata, undecayed & set(theta), expansion, others)


def aux_net_of(learngene: Learngene, depths: Sequence[Depth] = (), **training: float) -> AuxNet:
    """An aux net that starts with the weights of a learngene. depths, training: see new_aux_net."""
    metadata = learngene.metadata
    network = new_aux_net(
        get_backbone(metadata.backbone), learngene.basis, metadata, learngene.expansion, depths, **training
    )
    with torch.no_grad():
        for name, tensor in learngene.theta.items():
            network.theta[key_of(name)].copy_(tensor)
    network.skeleton.load_state_dict(dict(learngene.shared), strict=True)
    return network


class AtDepth(nn.Module):
    """An aux net at one of its depths, to be scored like any network."""

    def __init__(self, network: nn.Module, depth: Depth):
        super().__init__()
        self.network = network
        self.depth = depth

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, size, size)."""
        logits: Tensor = self.network(images, self.depth)
        return logits


def too_shallow(basis: Basis, depth: Depth, stages: Sequence[str]) -> list[str]:
    """Which stages have too few blocks to train every theta_k, in words: one block of TLEG is theta_B alone, since l / L = 0."""
    ranks = [int(torch.linalg.matrix_rank(basis.matrix(blocks))) for blocks in depth]
    return [
        f"{stage} has {blocks} block{'s' * (blocks > 1)} in the aux net, enough for {rank} of the {basis.rank} weights of {basis.name}"
        for stage, blocks, rank in zip(stages, depth, ranks, strict=True)
        if rank < basis.rank
    ]


def _own_list(model: nn.Module) -> set[str]:
    return set(getattr(model, "no_weight_decay", set)())


def _in_theta(names: set[str], stages: Sequence[str]) -> set[str]:
    """`blocks.3.attn.bias` -> `blocks.*.attn.bias`, for what lies in a stage."""
    inside = [(stage, name[len(stage) + 1 :]) for name in names for stage in stages if name.startswith(f"{stage}.")]
    return {f"{stage}.*.{rest.partition('.')[2]}" for stage, rest in inside}


def _initial(fresh: list[Tensor], basis: Basis) -> Tensor:
    """(rank, *shape) of `rank` fresh weights. A direction of a constant weight is 0: TLEG's norms and biases."""
    start = [
        torch.zeros_like(weight) if direction and bool((weight == weight.flatten()[0]).all()) else weight
        for weight, direction in zip(fresh, basis.directions, strict=True)
    ]
    return torch.stack(start)


def key_of(name: str) -> str:
    """torch allows no dots in a parameter's name, and timm reads a `*` in one as a pattern."""
    return name.replace(".", "/").replace("*", "#")


def name_of(key: str) -> str:
    return key.replace("/", ".").replace("#", "*")


def call_with(skeleton: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The logits (batch, classes) of `skeleton` with `weights`. images: (batch, 3, size, size)."""
    return functional_call(skeleton, dict(weights), (images,))
