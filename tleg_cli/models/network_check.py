"""Whether a learngene's tensors are those of timm's network: compared with it once, by whoever writes the file.

`tleg expand` then needs neither timm nor a network: a note in the file (NetworkCheck) holds as long as timm's version, the backbone and
every name, shape and dtype are the ones that were compared. Otherwise, and for networks of plugins, the comparison is made again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any

import torch
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.errors import TlegError
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.expand import expand_later
from tleg_cli.learngene.gene import Learngene
from tleg_cli.learngene.network_check import NetworkCheck
from tleg_cli.models.branch_ends import problem_with
from tleg_cli.models.build import build_model, timm_call, without_weights
from tleg_cli.models.model_file import check_shapes
from tleg_cli.weights.save import Later


@dataclass(frozen=True)
class Expanded:
    """A network of one depth, its tensors made when they are written. parameters: how many values are trained."""

    weights: Mapping[str, Later]
    parameters: int


def with_network_check(learngene: Learngene) -> Learngene:
    """The learngene with a note that its tensors are those of timm's network; without one if they aren't, or for a plugin's network."""
    plain = replace(learngene, network_check=None)
    if not _is_built_in(learngene):
        return plain
    data, depth = learngene.metadata, learngene.metadata.depth
    backbone = plugin_manager.get_backbone(data.backbone)
    try:
        model, found = _network(learngene, depth), expand_later(learngene, depth)
        check_shapes(model, found, "")
        ends = () if problem_with(backbone.name, data.options) else backbone.branch_ends
    except TlegError:
        return plain
    expected = model.state_dict()
    if any(_of_a_network(found[name].dtype) != tensor.dtype for name, tensor in expected.items()):
        return plain
    buffers = expected.keys() - {name for name, _ in model.named_parameters(remove_duplicate=False)}
    note = NetworkCheck(metadata.version("timm"), _fingerprint(learngene), tuple(sorted(buffers)), ends)
    return replace(learngene, network_check=note)


def is_checked(learngene: Learngene) -> bool:
    """Whether the learngene's note is of these very tensors, of this timm and of a network of tleg's own."""
    note = learngene.network_check
    return (
        note is not None
        and _is_built_in(learngene)
        and note.timm == metadata.version("timm")
        and note.network == _fingerprint(learngene)
    )


def checked_network(learngene: Learngene, depth: Depth) -> Expanded:
    """The expanded learngene as the state dict of timm's network of this depth; depth: with a number for every stage.

    Raises FileFormatError if its names or shapes are others, ConfigError or PluginError for a network that can't be built.
    """
    found = expand_later(learngene, depth)
    if learngene.network_check is not None and is_checked(learngene):
        trained = [one for name, one in found.items() if name not in learngene.network_check.buffers]
        as_there = {name: _converted(one, _of_a_network(one.dtype)) for name, one in found.items()}
        return Expanded(as_there, sum(math.prod(one.shape) for one in trained))
    model = _network(learngene, depth)
    check_shapes(model, found, f"learngene of {learngene.metadata.backbone}")
    as_there = {name: _converted(found[name], tensor.dtype) for name, tensor in model.state_dict().items()}
    return Expanded(as_there, sum(parameter.numel() for parameter in model.parameters()))


def _of_a_network(dtype: torch.dtype) -> torch.dtype:
    """What timm's networks have where a learngene has `dtype`: no floating-point values of 16 bits."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _converted(one: Later, dtype: torch.dtype) -> Later:
    """With a network's dtype: a learngene of 16 bits becomes a network of 32."""
    return one if one.dtype == dtype else Later(one.shape, dtype, lambda: one.make().to(dtype))


def _network(learngene: Learngene, depth: Depth) -> nn.Module:
    data = learngene.metadata
    backbone = plugin_manager.get_backbone(data.backbone)
    return without_weights(partial(build_model, backbone, data.options, depth, data.classes))


def _is_built_in(learngene: Learngene) -> bool:
    owners = plugin_manager.offers("tleg_backbones").owners.get(learngene.metadata.backbone, ())
    return len(owners) == 1 and owners[0] in plugin_manager.BUILT_IN


def _fingerprint(learngene: Learngene) -> str:
    """Of everything that decides which network it is, and whether the tensors are its own."""
    data = learngene.metadata
    backbone = plugin_manager.get_backbone(data.backbone)
    parts: dict[str, Any] = {
        part: {name: [str(tensor.dtype), *tensor.shape] for name, tensor in sorted(tensors.items())}
        for part, tensors in (("theta", learngene.theta), ("shared", learngene.shared))
    }
    call = timm_call(backbone, data.options, data.depth, data.classes)
    facts = {**parts, "stages": list(learngene.stages), "backbone": asdict(backbone), "call": asdict(call)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
