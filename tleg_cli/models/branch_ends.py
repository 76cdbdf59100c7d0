"""Whether a backbone's branch_ends are what they say: checked on the real network before the residual step is trusted."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli import plugin_manager
from tleg_cli.models.drawn_network import drawn_network

_ROUNDING = 1e-6  # of float64, through one block


def problem_with(backbone_name: str, options: Mapping[str, Any]) -> str | None:
    """What is wrong with the branch_ends of a backbone, None if nothing is."""
    if not plugin_manager.get_backbone(backbone_name).branch_ends:
        return "none are declared"
    return branch_problem(backbone_name, json.dumps(dict(options), sort_keys=True))


@functools.cache
def branch_problem(backbone_name: str, options_json: str) -> str | None:
    """What is wrong with the declaration, None if nothing is."""
    backbone, options = plugin_manager.get_backbone(backbone_name), json.loads(options_json)
    depth = (1,) * len(backbone.stages)
    model, images = drawn_network(backbone, options, depth, 2)
    for stage in backbone.stages:
        block = model.get_submodule(stage)[0]  # type: ignore[index]
        known = dict(block.named_parameters())
        missing = [name for name in backbone.branch_ends if name not in known]
        if missing:
            return f"a block has no {missing[0]!r}"
        groups = {
            name: name.rpartition(".")[0] or name for name in backbone.branch_ends
        }  # weight and bias of a layer together

        def added(
            group: str | None, scale: float, block: nn.Module = block, groups: Mapping[str, str] = groups
        ) -> Tensor:
            return _added(model, block, images, {name: scale * (one == group) for name, one in groups.items()})

        if added(None, 0.0).abs().max() > 0:
            return f"a block of {stage} still changes its input when all of them are 0; a branch ends elsewhere"
        for group in dict.fromkeys(groups.values()):  # alone, so that no other branch changes what it sees
            once, twice = added(group, 1.0), added(group, 2.0)
            if once.abs().max() == 0 or not torch.allclose(twice, 2 * once, rtol=_ROUNDING, atol=_ROUNDING):
                return f"{group} isn't the end of a branch of {stage}: what a block adds isn't proportional to it"
    return None


def _added(model: nn.Module, block: nn.Module, images: Tensor, scales: Mapping[str, float]) -> Tensor:
    """Output minus input of `block` with its weights multiplied by `scales`."""
    found: list[Tensor] = []
    hook = block.register_forward_hook(lambda module, inputs, output: found.append(output - inputs[0]))
    try:
        with torch.no_grad(), _scaled(block, scales):
            model(images)
    finally:
        hook.remove()
    return found[0]


@contextmanager
def _scaled(block: nn.Module, scales: Mapping[str, float]) -> Iterator[None]:
    weights = dict(block.named_parameters())
    before = {name: weights[name].clone() for name in scales}
    for name, scale in scales.items():
        weights[name].mul_(scale)
    try:
        yield
    finally:
        for name, value in before.items():
            weights[name].copy_(value)
