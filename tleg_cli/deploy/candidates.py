"""The networks that `tleg choose` has to choose from: a learngene's at many depths, or those of a folder, a file for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.hookspecs import Backbone
from tleg_cli.inspect.profile import DEPTHS
from tleg_cli.learngene.depths import Depth, format_depth, parse_depths
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.any_file import open_network
from tleg_cli.models.branches import reread
from tleg_cli.models.build import TimmCall, create_network, timm_call
from tleg_cli.models.descendant import descendant_card, expanded_model, full_depth
from tleg_cli.models.model_file import ModelCard, read_card
from tleg_cli.plan.cost import Cost, cost_at, forward_cost
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate_file import Evaluation, evaluate_file, top1_by_depth
from tleg_cli.weights.hub import local_file

Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidates:
    """card: of one of them; all have the same input. build: what makes the network of each depth, weights included.

    call_at: the timm call of any depth. score: top-1 in percent of each depth on the validation images of `data`.
    """

    card: ModelCard
    build: Mapping[Depth, Callable[[], nn.Module]]
    call_at: Callable[[Depth], TimmCall]
    score: Callable[[str, Say], dict[Depth, float]]

    def costs(self) -> dict[Depth, Cost]:
        """Parameters and multiply-adds of one image, counted without weights."""
        traced: dict[Depth, Cost] = {}

        def trace(few: Depth) -> Cost:
            if few not in traced:
                build = partial(create_network, self.call_at(few))
                traced[few] = Cost(*forward_cost(build, self.card.input.image_size), kept=0, kept_per_image=0)
            return traced[few]

        return {depth: cost_at(trace, depth) for depth in self.build}


def candidates_of(path: Path, depths: str | None, step: str | None, positions: str | None) -> Candidates:
    """Those of a learngene (its file, or the folder of its run), or of a folder with descendants.

    depths: as on the command line; None for usual_depths, or every file of a folder. Raises ConfigError or FileFormatError.
    """
    path = local_file(path)
    if (path / "learngene.pt").is_file():
        path = path / "learngene.pt"
    if path.is_dir():
        for option, value in (("step", step), ("positions", positions)):
            if value is not None:
                raise ConfigError(f"{path} is a folder of trained networks; --{option} is for learngenes")
        return _of_folder(path, depths)
    learngene = reread(read_learngene(path, plugin_manager.bases()), positions, step)
    asked = [full_depth(learngene, depth) for depth in parse_depths(depths or usual_depths(learngene))]
    _refuse_twice(asked)
    metadata = learngene.metadata
    backbone = plugin_manager.get_backbone(metadata.backbone)

    def score(data: str, say: Say) -> dict[Depth, float]:
        text = ",".join(map(format_depth, asked))
        found = top1_by_depth(Evaluation(path, data, text, positions=positions, step=step), _world(), say)
        return dict(zip(asked, found.values(), strict=True))

    return Candidates(
        descendant_card(learngene, asked[0], metadata.classes, metadata.class_names, metadata.input.crop_pct),
        {depth: partial(expanded_model, learngene, depth) for depth in asked},
        lambda depth: timm_call(backbone, metadata.options, depth, metadata.classes),
        score,
    )


def usual_depths(learngene: Learngene) -> str:
    """The depths that a learngene was trained for; for a single trained depth, 2-12,18,24, or its deepest stage from 1 up."""
    trained, recorded = learngene.metadata.depth, learngene.metadata.provenance.get("depths")
    try:
        if isinstance(recorded, str) and len(parse_depths(recorded)) > 1:
            return recorded
    except ConfigError:  # a file's provenance is free text
        pass
    if len(trained) == 1:
        return DEPTHS
    stages = plugin_manager.get_backbone(learngene.metadata.backbone).usual_depth
    deepest = stages.index(max(stages))
    if stages.count(stages[deepest]) > 1:
        return format_depth(trained)
    return f"1-{trained[deepest]}"


def _of_folder(folder: Path, depths: str | None) -> Candidates:
    files = sorted(folder.glob("depth-*/model.safetensors")) or sorted(folder.glob("*.safetensors"))
    found: dict[Depth, tuple[Path, ModelCard]] = {}
    for file in files:
        card = read_card(file)
        if card is None or "backbone" not in card.provenance:
            raise FileFormatError(f"{file} is not a descendant that tleg wrote, so its depth is unknown")
        depth = _depth_of(card, file)
        if depth in found:
            raise ConfigError(
                f"{found[depth][0]} and {file} both have depth {format_depth(depth)}; choose among others"
            )
        found[depth] = file, card
    if not found:
        raise ConfigError(
            f"{folder} has no networks; give a learngene, or a family's folder with depth-06/model.safetensors"
        )
    chosen = _selected(found, depths, folder)
    first_file, first = chosen[min(chosen)]
    for file, card in chosen.values():
        if _without_depth(card) != _without_depth(first):
            raise ConfigError(
                f"{file} and {first_file} differ in more than their depth; choose among networks of one family"
            )
    backbone = _backbone(first)

    def score(data: str, say: Say) -> dict[Depth, float]:
        return {
            depth: evaluate_file(Evaluation(file, data), _world(), say)["top1"] for depth, (file, _) in chosen.items()
        }

    return Candidates(
        first,
        {depth: partial(_opened, file) for depth, (file, _) in chosen.items()},
        lambda depth: replace(first.timm, arguments={**first.timm.arguments, **_argument(backbone, depth)}),
        score,
    )


def _opened(file: Path) -> nn.Module:
    return open_network(file).network


def _selected(
    found: Mapping[Depth, tuple[Path, ModelCard]], depths: str | None, folder: Path
) -> dict[Depth, tuple[Path, ModelCard]]:
    """Those of `depths`, or all, the shallowest first."""
    order = sorted(found, key=lambda depth: (sum(depth), depth))
    if depths is None:
        return {depth: found[depth] for depth in order}
    asked = parse_depths(depths)
    for depth in asked:
        if depth not in found:
            there = ", ".join(map(format_depth, order))
            raise ConfigError(f"{folder} has no network of depth {format_depth(depth)}; it has {there}")
    return {depth: found[depth] for depth in asked}


def _backbone(card: ModelCard) -> Backbone:
    return plugin_manager.get_backbone(str(card.provenance["backbone"]))


def _argument(backbone: Backbone, depth: Depth) -> dict[str, object]:
    return {backbone.depth_argument: depth[0] if len(backbone.stages) == 1 else depth}


def _depth_of(card: ModelCard, file: Path) -> Depth:
    value = card.timm.arguments.get(_backbone(card).depth_argument)
    depth = (value,) if isinstance(value, int) else value
    if not isinstance(depth, tuple):
        raise FileFormatError(f"{file}: its card doesn't say how deep it is")
    return depth


def _without_depth(card: ModelCard) -> tuple[object, ...]:
    arguments = {key: value for key, value in card.timm.arguments.items() if key != _backbone(card).depth_argument}
    return card.timm.name, arguments, card.input.image_size


def _refuse_twice(depths: Sequence[Depth]) -> None:
    for depth in depths:
        if depths.count(depth) > 1:
            raise ConfigError(f"--depths names {format_depth(depth)} more than once")


def _world() -> World:
    return World(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
