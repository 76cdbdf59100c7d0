"""Whether a backbone's branch_ends are what they say: checked on the real network before the residual step is trusted."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli import plugin_manager
from tleg_cli.errors import PluginError
from tleg_cli.learngene.expansion import PUBLISHED, Expansion
from tleg_cli.learngene.gene import Learngene
from tleg_cli.learngene.residual_step import NO_STEP, SCALED
from tleg_cli.models.build import build_model

_ROUNDING = 1e-6  # of float64, through one block
_PIXELS = 64  # of networks that take images of any size


def rule_for(backbone_name: str, options: Mapping[str, Any], positions: str, step: str) -> Expansion:
    """The expansion rule for a network of this backbone.

    Raises PluginError where a step is asked for and the backbone declares no branch ends, or wrong ones.
    """
    if step == NO_STEP:
        return Expansion(positions)
    backbone = plugin_manager.get_backbone(backbone_name)
    if not backbone.branch_ends:
        raise PluginError(
            f"backbone {backbone_name} declares no branch_ends, which the residual step needs; "
            "use step: none, or add branch_ends to its plugin (docs/plugins.md)"
        )
    problem = _check(backbone_name, json.dumps(dict(options), sort_keys=True))
    if problem:
        raise PluginError(f"branch_ends of backbone {backbone_name}: {problem}")
    return Expansion(positions, step, backbone.branch_ends)


def reread(learngene: Learngene, positions: str | None, step: str | None) -> Learngene:
    """The learngene under another expansion rule, as --positions and --step ask for; what they leave open stays.

    step "scaled" takes the positions "ends" if no positions are given and the learngene has TLEG's: the pair that was measured.
    At the trained depth this changes nothing. Raises ConfigError or PluginError for a rule that this learngene can't have.
    """
    rule = learngene.expansion
    if positions is None and step is None:
        return learngene
    if positions is None:
        positions = "ends" if step == SCALED and rule.positions == PUBLISHED.positions else rule.positions
    metadata = learngene.metadata
    return replace(learngene, expansion=rule_for(metadata.backbone, metadata.options, positions, step or rule.step))


@functools.cache
def _check(backbone_name: str, options_json: str) -> str | None:
    """What is wrong with the declaration, None if nothing is. All weights are drawn: fresh ones may hide a branch behind zeros."""
    backbone, options = plugin_manager.get_backbone(backbone_name), json.loads(options_json)
    depth = (1,) * len(backbone.stages)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(backbone, options, depth, 2).eval().double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        size = options.get("img_size", backbone.options.get("img_size", _PIXELS))
        images = torch.randn(1, 3, size, size, dtype=torch.float64)
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
