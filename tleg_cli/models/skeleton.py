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
    blocks = {stage: list(model.get_submodule(stage).children()) for stage in stages}
    for stage in stages:
        _refuse_buffers(stage, blocks[stage])
    return {stage: [_take_out(block) for block in blocks[stage]] for stage in stages}


def _refuse_buffers(stage: str, blocks: Sequence[nn.Module]) -> None:
    for block in blocks:
        buffers = sorted(set(block.state_dict()) - {name for name, _ in block.named_parameters()})
        if buffers:
            raise PluginError(f"{stage} holds the buffer {buffers[0]!r} in its blocks; only parameters can be expanded")


def _take_out(block: nn.Module) -> dict[str, Tensor]:
    weights = {name: parameter.detach() for name, parameter in block.named_parameters()}
    for module in block.modules():
        for name in list(module._parameters):
            module._parameters[name] = None
    return weights


def run(skeleton: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The logits (batch, classes) of `skeleton` with `weights`. images: (batch, 3, size, size)."""
    return functional_call(skeleton, dict(weights), (images,))
