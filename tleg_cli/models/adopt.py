"""`tleg adopt`: what a trained network needs to become a family: its learngene of full rank, and the settings of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import format_depth, parse_depths
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.fit import fit
from tleg_cli.learngene.full_rank import full_rank
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.learngene.residual_step import REPEATS
from tleg_cli.models.align_network import align_network
from tleg_cli.models.branches import rule_for
from tleg_cli.models.build import is_buildable
from tleg_cli.models.read_network import ReadNetwork, read_network, read_published

ITSELF = "itself"  # teacher.model of a network that is adopted: no other file


@dataclass(frozen=True)
class Adopted:
    """learngene: at its own depth the network itself. settings: as `--set` takes them, so that a preset's recipe trains it.

    note: what was assumed about its images, which a file without a card doesn't state; empty if it does.
    """

    learngene: Learngene
    settings: tuple[str, ...]
    note: str = ""


def adopt_network(
    checkpoint: Path,
    depths: str | None = None,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
    which: str = "auto",
    basis: Basis | None = None,
) -> Adopted:
    """The network of a file, or timm's of that name, to be trained at `depths`; by default from a quarter of its blocks to all of them.

    basis: that it is trained in, see start_of; None: every block is kept.
    Raises FileFormatError for a file that is not a network of a registered backbone, ConfigError for depths that it can't have.
    """
    network = _read(checkpoint, backbone, options, which)
    metadata = network.metadata
    declared = plugin_manager.get_backbone(metadata.backbone)
    step = REPEATS if declared.branch_ends else "none"
    rule = rule_for(metadata.backbone, metadata.options, "tleg", step)
    learngene = full_rank(network.weights, network.stages, metadata, rule)
    trained = format_depth(metadata.depth)
    asked = depths or _usual_depths(metadata.depth)
    spec = metadata.input
    values: dict[str, Any] = {
        "backbone.name": metadata.backbone,
        "backbone.options": dict(metadata.options),
        "basis": learngene.basis.name,
        "expansion": {"positions": "tleg", "step": step},
        **({} if basis is None else _read_in(basis, bool(declared.branch_ends))),
        "data.image_size": spec.image_size,
        "data.mean": list(spec.mean),
        "data.std": list(spec.std),
        "data.crop_pct": spec.crop_pct,
        "teacher.model": ITSELF,
        "teacher.options": {},
        "teacher.weights": None,
        "teacher.recipe": None,
        "teacher.image_size": None,
        "aux.depth": asked,
        "aux.reference_depth": trained,
        "aux.score_depths": _scored(asked),
    }
    settings = tuple(f"{key}={json.dumps(value)}" for key, value in values.items())
    return Adopted(learngene, settings, "" if network.carded else _assumed(checkpoint, metadata))


def _read_in(basis: Basis, has_step: bool) -> dict[str, Any]:
    """Settings for a learngene whose networks of all depths are one curve: docs/method.md, any-depth training."""
    return {
        "basis": basis.name,
        "expansion": {"positions": "ends" if basis.at else "tleg", "step": "1" if has_step else "none"},
    }


def start_of(network: Learngene, basis: Basis | None = None, *, align: bool = False) -> Learngene:
    """What the training starts from: the network itself, or the nearest learngene in a basis of fewer thetas, by least squares.

    network: of full rank. align: with equivalent weights, whose blocks are nearer to each other, and to the basis. Raises PluginError
    for a backbone that can't be aligned, ConfigError for a basis with more thetas than a stage has blocks.
    """
    metadata = network.metadata
    of = ReadNetwork(expand(network, metadata.depth), network.stages, metadata, carded=True)
    if align:
        of = align_network(of, basis or network.basis)
    if basis is not None:
        return fit(of.weights, of.stages, basis, of.metadata).learngene
    return full_rank(of.weights, of.stages, of.metadata, network.expansion) if align else network


def _read(checkpoint: Path, backbone: str | None, options: Mapping[str, Any] | None, which: str) -> ReadNetwork:
    """The network of a file or, where there is none of that name, the one that timm publishes."""
    name = str(checkpoint)
    if checkpoint.exists() or not is_buildable(name):
        return read_network(checkpoint, backbone, options, which)
    if backbone or options or which != "auto":
        raise ConfigError(f"{name} is not a file, and timm's {name} needs no --backbone, --option or --weights")
    return read_published(name)


def _assumed(checkpoint: Path, metadata: Metadata) -> str:
    spec = metadata.input
    return (
        f"{checkpoint} is recognised as {metadata.backbone}; it doesn't state how its images were normalised. Assumed: mean "
        f"{list(spec.mean)}, std {list(spec.std)}. If they were others, add --set data.mean=[...] --set data.std=[...]"
    )


def expecting(adopted: Adopted, images: InputSpec) -> Learngene:
    """The learngene for the images of the config: what a file states is kept, what was assumed may be corrected."""
    learngene = adopted.learngene
    if not adopted.note:
        return learngene
    return replace(learngene, metadata=replace(learngene.metadata, input=images))


def without_labels(adopted: Adopted) -> Adopted:
    """The same for images without classes: the network's own classes are those of the data."""
    metadata = adopted.learngene.metadata
    names = metadata.class_names or tuple(map(str, range(metadata.classes)))
    return replace(adopted, settings=(*adopted.settings, f"data.unlabelled={json.dumps(list(names))}"))


def _usual_depths(depth: tuple[int, ...]) -> str:
    """The deepest stage from a quarter of its blocks on, the others as they are."""
    deepest = depth.index(max(depth))
    return ":".join(
        f"{max(1, blocks // 4)}-{blocks}" if stage == deepest and blocks > 1 else str(blocks)
        for stage, blocks in enumerate(depth)
    )


def _scored(depths: str) -> str:
    """At most six of the depths, the first and the last among them."""
    all_ = parse_depths(depths)
    if not all_:
        raise ConfigError(f"--depths {depths!r} names no depth")
    step = max(1, -(-(len(all_) - 1) // 5))
    chosen = dict.fromkeys([*all_[::step], all_[-1]])
    return ",".join(format_depth(depth) for depth in chosen)
