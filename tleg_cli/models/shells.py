"""One network's modules at several depths: blocks without weights for each depth, everything else shared."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.errors import PluginError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth
from tleg_cli.models.build import build_model


def empty_stages(
    backbone: Backbone, options: Mapping[str, Any], depth: Depth, classes: int, **training: float
) -> nn.ModuleList:
    """The stages of a network of this depth, their blocks without weights. `training`: drop_rate, drop_path_rate.

    torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        model = build_model(backbone, options, depth, classes, **training)
    take_out_blocks(model, backbone.stages)
    return nn.ModuleList([model.get_submodule(stage) for stage in backbone.stages])


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


def with_stages(skeleton: nn.Module, places: Sequence[str], stages: Sequence[nn.Module]) -> nn.Module:
    """`skeleton` with other stages at `places`, without changing it: only the modules on the way to a stage are copied, and
    those shallowly, so that parameters, buffers and the training mode are the skeleton's own."""
    root = _shallow(skeleton)
    for place, stage in zip(places, stages, strict=True):
        *parents, last = place.split(".")
        module = root
        for name in parents:
            module._modules[name] = _shallow(module._modules[name])  # type: ignore[arg-type]
            module = module._modules[name]  # type: ignore[assignment]
        module._modules[last] = stage
    return root


def _shallow(module: nn.Module) -> nn.Module:
    twin = copy.copy(module)
    twin.__dict__["_modules"] = dict(module._modules)
    return twin
