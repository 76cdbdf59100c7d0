"""A timm model without the weights of its blocks: they come from outside at every forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.func import functional_call

from tleg_cli.errors import PluginError


def take_out_blocks(model: nn.Module, stages: Sequence[str]) -> dict[str, list[dict[str, Tensor]]]:
    """Empties the blocks of `model` in place and returns what was in them: stage -> block -> name -> initial value.

    The model keeps its modules (so train() and eval() reach them) and its shared parameters; an emptied parameter is None.
    Raises PluginError for a stored buffer inside a block (as in BatchNorm): it isn't a weight and can't be expanded.
    """
    taken: dict[str, list[dict[str, Tensor]]] = {}
    for stage in stages:
        taken[stage] = []
        for block in model.get_submodule(stage).children():
            weights = {name: parameter.detach() for name, parameter in block.named_parameters()}
            buffers = sorted(set(block.state_dict()) - set(weights))
            if buffers:
                raise PluginError(
                    f"{stage} holds the buffer {buffers[0]!r} in its blocks; only parameters can be expanded"
                )
            taken[stage].append(weights)
            for module in block.modules():
                for name in list(module._parameters):
                    module._parameters[name] = None
    return taken


def run(skeleton: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The logits (batch, classes) of `skeleton` with `weights`. images: (batch, 3, size, size)."""
    return functional_call(skeleton, dict(weights), (images,))
