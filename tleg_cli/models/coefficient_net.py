"""A descendant whose blocks stay combinations of the learngene: only the coefficients, norms and head of its depth are trained.

FINE (arXiv 2409.19289) does so for weights factorised by singular values. At a depth that the learngene wasn't trained at, the
coefficients of its basis are a guess; a few hundred steps find better ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tleg_cli import plugin_manager
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.expand import coefficients_at, combine
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.aux_net import call_with, key_of, name_of
from tleg_cli.models.build import build_model
from tleg_cli.models.class_names import in_modules
from tleg_cli.models.mix_blocks import Rows, mixtures
from tleg_cli.models.shells import take_out_blocks


class CoefficientNet(nn.Module):
    """`call_with(skeleton, weights(), images)`: W_l = sum_k c[l, k] * theta_k with trained c and frozen theta.

    theta: (rank, *shape of one block's weight). coefficients: (blocks, rank) for each theta, with the block's step in them.
    free: (blocks, *shape) of the vectors in norms and layer scales, which are trained as they are. In the skeleton, which holds what
    isn't repeated, norms and the modules `head` are trained. parameters_when_plain: of the network that `weights` is for.
    """

    def __init__(
        self,
        skeleton: nn.Module,
        theta: Mapping[str, Tensor],
        coefficients: Mapping[str, Tensor],
        free: Mapping[str, Tensor],
        head: Sequence[str],
        parameters_when_plain: int,
    ):
        super().__init__()
        trained = vectors_of_norms(skeleton)
        for name, parameter in skeleton.named_parameters():
            parameter.requires_grad_(name in trained or in_modules(name, head))
        self.skeleton = skeleton
        # parameters, not buffers: those are copied at each step that may be left out
        self.theta = _parameters(theta, trained=False)
        self.coefficients = _parameters(coefficients)
        self.free = _parameters(free)
        self.parameters_when_plain = parameters_when_plain

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the plain network; its tensors have gradients where something of them is trained."""
        skeleton = self.skeleton.state_dict(keep_vars=True)
        return _combined(skeleton, dict(self.theta.items()), dict(self.coefficients.items()), dict(self.free.items()))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, size, size)."""
        return call_with(self.skeleton, self.weights(), images)

    def no_weight_decay(self) -> set[str]:
        """Coefficients, which would decay towards a network of zeros, norms, and the skeleton's own list."""
        own = set(getattr(self.skeleton, "no_weight_decay", set)())
        inside = {f"{part}.{key}" for part in ("coefficients", "free") for key in getattr(self, part)}
        return {f"skeleton.{name}" for name in own} | inside


def new_coefficient_net(learngene: Learngene, depth: Depth, model: nn.Module) -> CoefficientNet:
    """model: the network of this depth with the expanded weights, as expanded_model makes it; it becomes the skeleton.

    At the start the result is the same function.
    """
    backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    size = sum(parameter.numel() for parameter in model.parameters())
    norms = {
        f"{stage}.*.{name}" for stage in backbone.stages for name in vectors_of_norms(model.get_submodule(f"{stage}.0"))
    }
    blocks = take_out_blocks(model, backbone.stages)
    theta, coefficients, free = {}, {}, {}
    for name, matrix in coefficients_at(learngene, depth).items():
        stage, _, inside = name.partition(".*.")
        own = [block[inside] for block in blocks[stage]]
        if name in norms:
            free[name] = torch.stack(own)
        else:
            theta[name] = learngene.theta[name].detach().to(own[0].dtype)
            coefficients[name] = matrix.to(own[0].dtype)
    return CoefficientNet(model, theta, coefficients, free, backbone.head, size)


def new_mixture_net(source: Learngene, depth: Depth, rows: Rows, **training: float) -> CoefficientNet:
    """A network of this depth whose blocks are combinations of the source's blocks, norms included; the coefficients alone are trained.

    rows: (blocks, trained blocks) of a stage -> the matrix (blocks, trained blocks) where they start. training: drop_rate, drop_path_rate.
    """
    metadata = source.metadata
    backbone = plugin_manager.get_backbone(metadata.backbone)
    model = build_model(backbone, metadata.options, depth, metadata.classes, **training)
    size = sum(parameter.numel() for parameter in model.parameters())
    take_out_blocks(model, backbone.stages)
    model.load_state_dict(dict(source.shared), strict=True)
    parts = list(mixtures(source, depth, rows))
    theta = {name: blocks.detach() for name, blocks, _ in parts}
    network = CoefficientNet(model, theta, {name: matrix.float() for name, _, matrix in parts}, {}, (), size)
    network.skeleton.requires_grad_(False)
    return network


def vectors_of_norms(module: nn.Module) -> set[str]:
    """The parameters of modules that have vectors only: norms and layer scales, but not the bias of a matrix."""
    return {
        f"{place}.{name}" if place else name
        for place, one in module.named_modules()
        if all(parameter.ndim <= 1 for parameter in one.parameters(recurse=False))
        for name, _ in one.named_parameters(recurse=False)
    }


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """The state dict that timm loads, of a trained descendant of either kind."""
    if isinstance(network, CoefficientNet):
        return {name: value.detach() for name, value in network.weights().items()}
    return network.state_dict()


def plain_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of the state dict alone, as a checkpoint holds it."""
    parts: dict[str, dict[str, Tensor]] = {"skeleton": {}, "theta": {}, "coefficients": {}, "free": {}}
    if not any(name.startswith("coefficients.") for name in tensors):
        return dict(tensors)
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    return _combined(**parts)


def _combined(
    skeleton: Mapping[str, Tensor],
    theta: Mapping[str, Tensor],
    coefficients: Mapping[str, Tensor],
    free: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    weights = dict(skeleton)
    for key, stacked in theta.items():
        weights |= combine(name_of(key), stacked, coefficients[key])
    for key, stacked in free.items():
        name = name_of(key)
        weights |= {name.replace("*", str(block), 1): one for block, one in enumerate(stacked.unbind(0))}
    return weights


def plain_size(network: nn.Module) -> int:
    """How many parameters the network has for timm."""
    if isinstance(network, CoefficientNet):
        return network.parameters_when_plain
    return sum(parameter.numel() for parameter in network.parameters())


def _parameters(tensors: Mapping[str, Tensor], *, trained: bool = True) -> nn.ParameterDict:
    return nn.ParameterDict(
        {key_of(name): nn.Parameter(tensor.clone(), requires_grad=trained) for name, tensor in tensors.items()}
    )
