"""`--align`: a trained network with other weights of the same function, whose blocks are nearer to each other.

Its backbone declares which weights have equivalents; the declaration is checked on the real network before it is used.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tleg_cli import plugin_manager
from tleg_cli.align.align import align_blocks
from tleg_cli.align.block import Block
from tleg_cli.errors import PluginError
from tleg_cli.hookspecs import Backbone, BlockLayout
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.fit import check_blocks
from tleg_cli.models.build import build_model, without_weights
from tleg_cli.models.drawn_network import drawn_network
from tleg_cli.models.read_network import ReadNetwork
from tleg_cli.one_thread import one_thread
from tleg_cli.weights.stacks import find_stacks

ALIGNED = "aligned"  # in provenance
_ROUNDING = 1e-8  # of float64, through a few blocks


def align_network(network: ReadNetwork, basis: Basis) -> ReadNetwork:
    """The same function; in every stage the blocks are matched with each other and with what `basis` can make of them.

    Raises PluginError for a backbone that declares no layout or a wrong one, FileFormatError for blocks that can't be expanded.
    """
    metadata = network.metadata
    layout = layout_of(metadata.backbone, metadata.options)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.weights.items()}
    check_blocks(network.weights, network.stages, find_stacks(shapes, network.stages), metadata.depth)
    heads = _heads(plugin_manager.get_backbone(metadata.backbone), metadata.options, metadata.depth, layout)
    with one_thread():
        weights = _aligned(network.weights, network.stages, metadata.depth, layout, heads, basis)
    facts = {**metadata.provenance, ALIGNED: basis.name}
    return replace(network, weights=weights, metadata=replace(metadata, provenance=facts))


def random_like(network: ReadNetwork) -> ReadNetwork:
    """Independent normal values in every block, with the mean and standard deviation of each tensor: what chance is for `fit`."""
    generator = torch.Generator().manual_seed(0)
    weights = dict(network.weights)
    for name, tensor in network.weights.items():
        if any(name.startswith(f"{stage}.") for stage in network.stages) and tensor.numel() > 1:
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
            weights[name] = noise * tensor.float().std() + tensor.float().mean()
    return replace(network, weights=weights)


def layout_of(backbone_name: str, options: Mapping[str, Any]) -> BlockLayout:
    """What the backbone declares, checked. Raises PluginError if it declares nothing or something wrong."""
    layout = plugin_manager.get_backbone(backbone_name).layout
    if layout is None:
        raise PluginError(
            f"--align is not offered for {backbone_name}: its plugin declares no layout (docs/plugins.md); leave --align out"
        )
    problem = _check(backbone_name, json.dumps(dict(options), sort_keys=True))
    if problem:
        raise PluginError(f"layout of backbone {backbone_name}: {problem}")
    return layout


def _aligned(
    weights: Mapping[str, Tensor],
    stages: tuple[str, ...],
    depth: Depth,
    layout: BlockLayout,
    heads: Depth,
    basis: Basis,
) -> dict[str, Tensor]:
    """The state dict with aligned blocks, in the types it came in (at least float32)."""
    aligned = dict(weights)
    for stage, blocks, of_stage in zip(stages, depth, heads, strict=True):
        found = [_block(weights, f"{stage}.{number}.") for number in range(blocks)]
        for number, block in enumerate(align_blocks(found, layout, of_stage, basis.matrix(blocks))):
            for name, tensor in block.items():
                before = weights[f"{stage}.{number}.{name}"]
                aligned[f"{stage}.{number}.{name}"] = tensor.to(torch.promote_types(before.dtype, torch.float32))
    return aligned


def _block(weights: Mapping[str, Tensor], prefix: str) -> Block:
    return {
        name.removeprefix(prefix): tensor.detach().double()
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _heads(backbone: Backbone, options: Mapping[str, Any], depth: Depth, layout: BlockLayout) -> Depth:
    """The attention heads of each stage; 1 where the layout has no attention."""
    if layout.attention is None:
        return (1,) * len(depth)
    model = without_weights(lambda: build_model(backbone, options, depth, 2))
    place = layout.attention[0].rpartition(".")[0]
    return tuple(int(model.get_submodule(f"{stage}.0.{place}").num_heads) for stage in backbone.stages)  # type: ignore[arg-type]


@functools.cache
def _check(backbone_name: str, options_json: str) -> str | None:
    """What is wrong with the declaration, None if nothing is: aligned, a network of random weights must give the same logits."""
    backbone, options = plugin_manager.get_backbone(backbone_name), json.loads(options_json)
    layout, depth = backbone.layout, (2,) * len(backbone.stages)
    assert layout is not None
    model, images = drawn_network(backbone, options, depth, 5)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = {
        "mlp": BlockLayout(mlp=layout.mlp),
        "attention": BlockLayout(attention=layout.attention),
        "norms": BlockLayout(norms=layout.norms),
    }
    with torch.no_grad():
        logits = model(images)
        for part, alone in parts.items():
            try:
                heads = _heads(backbone, options, depth, alone)
                model.load_state_dict(_aligned(weights, backbone.stages, depth, alone, heads, _each_its_own(2)))
            except (AttributeError, KeyError, RuntimeError) as error:
                return (
                    f"{part} = {getattr(layout, part)}: a block isn't made like that ({type(error).__name__}: {error})"
                )
            if not torch.allclose(model(images), logits, rtol=_ROUNDING, atol=_ROUNDING):
                return f"{part} = {getattr(layout, part)}: exchanging these weights changes the logits"
    return None


def _each_its_own(blocks: int) -> Basis:
    """A basis of full rank: neighbours are matched, nothing else."""
    return Basis("each", blocks, lambda depth: torch.eye(depth, dtype=torch.float64), (False,) * blocks)
