"""What a config asks for, decided once and used by the trainings and by `tleg plan` alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import Depth, complete_depth, parse_depths
from tleg_cli.learngene.expansion import PUBLISHED, Expansion
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.models.branches import rule_for
from tleg_cli.training.draw_depth import DepthDraw, reference_depth, shares_of


@dataclass(frozen=True)
class Task:
    """A config with its names looked up. depth: blocks of each stage of the aux net, at which the residual step is 1.

    draw: which depth each step trains at, and which are scored; None for one depth.
    """

    config: Config
    backbone: Backbone
    basis: Basis
    depth: Depth
    expansion: Expansion = PUBLISHED
    draw: DepthDraw | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The backbone's options for images of the data's size."""
        size = {"img_size": self.config.data.image_size} if "img_size" in self.backbone.options else {}
        return {**self.config.backbone.options, **size}

    def complete(self, depth: Depth) -> Depth:
        """A number for every stage; stages that `depth` leaves open are as deep as in the aux net."""
        return complete_depth(depth, self.depth, self.backbone.name, family=self.backbone.usual_depth)

    def metadata(self, classes: Sequence[str]) -> Metadata:
        """What a learngene of this task records about itself."""
        section = self.config.backbone
        names = tuple(classes)
        return Metadata(
            section.name, section.options, self.depth, len(names), self.config.data.input, class_names=names
        )


def resolve(config: Config) -> Task:
    """Looks up names and completes depths. Raises ConfigError for unknown names and wrong depths, PluginError for a step that the
    backbone can't have."""
    backbone, basis = plugin_manager.get_backbone(config.backbone.name), plugin_manager.get_basis(config.basis)
    aux, rule = config.aux, config.expansion
    expansion = rule_for(backbone.name, config.backbone.options, rule.positions, rule.step)
    drawn = _complete(aux.depth, backbone)
    if len(set(drawn)) < len(drawn):
        raise ConfigError(f"aux.depth {aux.depth!r} names a depth twice once all stages have a number")
    reference = _complete(aux.reference_depth, backbone)[0] if aux.reference_depth else reference_depth(drawn)
    if aux.in_place.weight and len(drawn) == 1:
        raise ConfigError(
            f"aux.in_place needs several depths, and aux.depth is {aux.depth}: a single depth has no deeper form to imitate"
        )
    task = Task(config, backbone, basis, reference, expansion)
    if len(drawn) == 1 and aux.score_depths is None and reference == drawn[0]:
        return task
    shares = shares_of(aux.draw, drawn)
    scored = _complete(aux.score_depths, backbone) if aux.score_depths else [min(drawn, key=sum), max(drawn, key=sum)]
    others = tuple(depth for depth in dict.fromkeys(scored) if depth != reference)
    return replace(task, draw=DepthDraw(tuple(drawn), shares, config.seed, others))


def _complete(text: str, backbone: Backbone) -> list[Depth]:
    return [complete_depth(depth, backbone.usual_depth, backbone.name) for depth in parse_depths(text)]


def check_task(task: Task) -> None:
    """Raises ConfigError if the aux net would be built for images of another size than the data's, or can't be expanded by its rule."""
    _check_image_size(task)
    for blocks in task.depth:
        rows = task.expansion.matrix(task.basis, blocks, blocks)
        task.expansion.steps(rows, rows)


def _check_image_size(task: Task) -> None:
    wanted = task.config.data.image_size
    built = task.config.backbone.options.get("img_size", task.backbone.options.get("img_size", wanted))
    if built != wanted:
        raise ConfigError(
            f"data.image_size is {wanted}, but backbone.options.img_size is {built}; set both to the same"
        )


def check_fits(config: Config, learngene: Learngene) -> None:
    """Raises ConfigError if preset and learngene describe different networks; the image size may differ."""
    metadata = learngene.metadata
    differ = [
        (key, ours, its)
        for key, ours, its in (
            ("backbone.name", config.backbone.name, metadata.backbone),
            ("backbone.options", _sizeless(config.backbone.options), _sizeless(metadata.options)),
            ("data.mean", list(config.data.mean), list(metadata.input.mean)),
            ("data.std", list(config.data.std), list(metadata.input.std)),
        )
        if ours != its
    ]
    if differ:
        key, ours, its = differ[0]
        made = "fitted to a checkpoint" if "fitted_to" in metadata.provenance else "trained"
        options = " ".join(f"--set '{name}={_as_yaml(value)}'" for name, _, value in differ)
        raise ConfigError(
            f"the preset's {key} is {ours}, but the learngene was {made} with {its}; use a preset for its network, "
            f"or add {options}"
        )


def _as_yaml(value: Any) -> str:
    """One line that `--set` reads."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_as_yaml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value) if not isinstance(value, str) else value


def _sizeless(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without the image size: data.image_size decides it."""
    return {name: value for name, value in options.items() if name != "img_size"}
