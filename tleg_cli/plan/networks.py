"""What each training of a plan is: its network, its steps, its memory and its files, as plain values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tleg_cli.config import Config, Recipe, TeacherSection
from tleg_cli.data.batches import batches_per_epoch
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth, complete_depth, format_depth, parse_depths
from tleg_cli.models.build import build_model
from tleg_cli.models.teacher import untrained_teacher
from tleg_cli.plan.cost import Cost, cost_at, cost_of, forward_cost
from tleg_cli.plan.count import Counted
from tleg_cli.training.checkpoint import KEEP
from tleg_cli.training.optim import budget_of

FP32 = 4  # bytes
_PASSES = 3  # a step multiplies once forward and twice backward
CHECKPOINTS = KEEP + 1  # the newest ones and the best


@dataclass(frozen=True)
class Setup:
    """What all trainings of a plan share. world: processes over all nodes. traced: what was counted already, by what decides it."""

    config: Config
    backbone: Backbone
    counted: Counted
    world: int
    traced: dict[Hashable, Cost] = field(default_factory=dict)

    @property
    def aux_depth(self) -> Depth:
        return complete_depth(parse_depths(self.config.aux.depth)[0], self.backbone.usual_depth, self.backbone.name)

    @property
    def options(self) -> Mapping[str, Any]:
        """The backbone's, at the size of the data's images: where the preset says another, training refuses or resamples."""
        size = {"img_size": self.config.data.image_size} if "img_size" in self.backbone.options else {}
        return {**self.config.backbone.options, **size}

    def complete(self, depth: Depth) -> Depth:
        """A number for every stage: what isn't said is the aux net's."""
        return complete_depth(depth, self.aux_depth, self.backbone.name, family=self.backbone.usual_depth)

    def cost(self, depth: Depth, recipe: Recipe) -> Cost:
        """Of the network of this depth."""
        training = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
        options, classes = self.options, self.counted.classes

        def trace(few: Depth) -> Cost:
            key = (few, *training.values(), recipe.precision)
            if key not in self.traced:
                build = partial(build_model, self.backbone, options, few, classes, **training)
                self.traced[key] = cost_of(build, self.config.data.image_size, recipe.precision)
            return self.traced[key]

        return cost_at(trace, depth)


def training_part(setup: Setup, recipe: Recipe, *, trained: int, macs_of_an_image: int, memory: int) -> dict[str, Any]:
    """Steps, images, multiplications and bytes of one training. trained: its parameters."""
    config = setup.config
    batches = batches_per_epoch(
        setup.counted.train, batch_size=recipe.batch_size, world=setup.world, repeats=config.augmentation.repeats
    )
    plan = budget_of(recipe, batches, setup.world)
    averages = 2 if recipe.ema_decay is not None else 1
    return {
        "epochs": plan.epochs,
        "steps_per_epoch": plan.steps_per_epoch,
        "steps": plan.steps,
        "global_batch": plan.global_batch,
        "lr": plan.lr,
        "images": plan.steps * plan.global_batch,
        "training_macs": plan.steps * plan.global_batch * macs_of_an_image,
        "memory_bytes": memory + _batch_bytes(recipe, config.data.image_size),
        "file_bytes": FP32 * trained * averages,
        "checkpoint_bytes": FP32 * trained * (averages + 2) * CHECKPOINTS,  # weights, two moments of AdamW, average
    }


def _batch_bytes(recipe: Recipe, image_size: int) -> int:
    """Of the images: bytes as they come, and as inputs before and after mixup."""
    return recipe.batch_size * 3 * image_size**2 * (1 + 2 * FP32)


def _optimised_bytes(parameters: int, recipe: Recipe) -> int:
    """Weights, gradients, two moments of AdamW, and the average."""
    return FP32 * parameters * (4 + (recipe.ema_decay is not None))


def descendant_part(setup: Setup, depth: Depth) -> dict[str, Any]:
    """One descendant."""
    name = format_depth(depth)
    recipe = setup.config.descendant.recipe_at(name)
    cost = setup.cost(setup.complete(depth), recipe)
    memory = _optimised_bytes(cost.parameters, recipe) + cost.kept + recipe.batch_size * cost.kept_per_image
    numbers = training_part(setup, recipe, trained=cost.parameters, macs_of_an_image=_PASSES * cost.macs, memory=memory)
    return {"network": f"descendant {name}", "depth": name, "parameters": cost.parameters, "macs": cost.macs, **numbers}


def aux_part(setup: Setup, rank: int, teacher: Mapping[str, Any]) -> dict[str, Any]:
    """The aux net. Its parameters are the learngene's: `rank` of each block's weights, and what all depths share."""
    recipe, depth = setup.config.aux, setup.aux_depth
    cost = setup.cost(depth, recipe)
    one_each = _one_block_each(setup)
    blocks = sum(size * count for size, count in zip(one_each, depth, strict=True))
    learngene = cost.parameters - blocks + rank * sum(one_each)
    expanded = 2 * FP32 * blocks  # the weights that are expanded at each step, and their gradients
    memory = (
        _optimised_bytes(learngene, recipe)
        + expanded
        + FP32 * teacher["parameters"]
        + cost.kept
        + recipe.batch_size * cost.kept_per_image
    )
    numbers = training_part(
        setup, recipe, trained=learngene, macs_of_an_image=_PASSES * cost.macs + teacher["macs"], memory=memory
    )
    return {
        "network": f"aux net {format_depth(depth)}", "depth": format_depth(depth), "parameters": learngene,
        "macs": cost.macs, **numbers,
    }  # fmt: skip


def _one_block_each(setup: Setup) -> list[int]:
    """Parameters of one block of each stage: build_model has made sure that all of a stage have the same."""
    import torch

    shallowest = (1,) * len(setup.backbone.stages)
    with torch.device("meta"):
        model = build_model(setup.backbone, setup.options, shallowest, setup.counted.classes)
    stages = [model.get_submodule(stage) for stage in setup.backbone.stages]
    return [sum(parameter.numel() for parameter in stage.parameters()) for stage in stages]


def teacher_part(setup: Setup) -> dict[str, Any]:
    """The ancestor, and its own training where the preset has a recipe for it."""
    config, section = setup.config, setup.config.teacher
    build, size = untrained_teacher(
        section, config.data.image_size, pretrained_classes(section) or setup.counted.classes
    )
    parameters, macs = forward_cost(build, size)
    part = {"network": f"teacher {section.model}", "parameters": parameters, "macs": macs}
    if section.recipe is None:
        return part
    cost = cost_of(build, size, section.recipe.precision)
    memory = _optimised_bytes(parameters, section.recipe) + cost.kept + section.recipe.batch_size * cost.kept_per_image
    return part | training_part(
        setup, section.recipe, trained=parameters, macs_of_an_image=_PASSES * macs, memory=memory
    )


def pretrained_classes(section: TeacherSection) -> int | None:
    """How many classes a teacher knows that comes trained by timm; None for one of a file or of a recipe of ours."""
    from timm.models import get_pretrained_cfg

    if section.weights or section.recipe is not None:
        return None
    usual = get_pretrained_cfg(section.model)
    return section.options.get("num_classes", usual.num_classes if usual else None)
