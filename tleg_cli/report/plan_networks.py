"""What each training of a plan is: its network, its steps, its memory and its files, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tleg_cli.config import Config, Recipe
from tleg_cli.data.counted import Counted
from tleg_cli.data.order import batches_per_epoch
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth, complete_depth, format_depth, parse_depths
from tleg_cli.models.build import build_model
from tleg_cli.models.cost import Cost, cost_of, forward_cost
from tleg_cli.models.teacher import untrained_teacher
from tleg_cli.training.optim import plan_training

FP32 = 4  # bytes
_PASSES = 3  # a step multiplies once forward and twice backward
_CHECKPOINTS = 3  # the two newest and the best


@dataclass(frozen=True)
class Setup:
    """What all trainings of a plan share. world: processes over all nodes."""

    config: Config
    backbone: Backbone
    counted: Counted
    world: int

    @property
    def aux_depth(self) -> Depth:
        return complete_depth(parse_depths(self.config.aux.depth)[0], self.backbone.usual_depth, self.backbone.name)

    def complete(self, depth: Depth) -> Depth:
        """A number for every stage: what isn't said is the aux net's."""
        return complete_depth(depth, self.aux_depth, self.backbone.name, family=self.backbone.usual_depth)

    def cost(self, depth: Depth, recipe: Recipe) -> Cost:
        """Of the network of this depth."""
        training = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
        build = partial(
            build_model, self.backbone, self.config.backbone.options, depth, self.counted.classes, **training
        )
        return cost_of(build, self.config.data.image_size, recipe.precision)


def training_part(setup: Setup, recipe: Recipe, *, trained: int, macs_of_an_image: int, memory: int) -> dict[str, Any]:
    """Steps, images, multiplications and bytes of one training. trained: its parameters."""
    config = setup.config
    batches = batches_per_epoch(
        setup.counted.train, batch_size=recipe.batch_size, world=setup.world, repeats=config.augmentation.repeats
    )
    plan = plan_training(recipe, batches, setup.world)
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
        "checkpoint_bytes": FP32 * trained * (averages + 2) * _CHECKPOINTS,  # weights, two moments of AdamW, average
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
    blocks, learngene = _stored(setup, depth, rank)
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


def _stored(setup: Setup, depth: Depth, rank: int) -> tuple[int, int]:
    """Parameters in the blocks of the network of this depth, and in the learngene."""
    import torch

    with torch.device("meta"):
        model = build_model(setup.backbone, setup.config.backbone.options, depth, setup.counted.classes)
    stages = [model.get_submodule(stage) for stage in setup.backbone.stages]
    sizes = [sum(parameter.numel() for parameter in stage.parameters()) for stage in stages]
    one_block_each = sum(size // blocks for size, blocks in zip(sizes, depth, strict=True))
    everything = sum(parameter.numel() for parameter in model.parameters())
    return sum(sizes), everything - sum(sizes) + rank * one_block_each


def teacher_part(setup: Setup) -> dict[str, Any]:
    """The ancestor, and its own training where the preset has a recipe for it."""
    config, section = setup.config, setup.config.teacher
    build, size = untrained_teacher(section, config.data, setup.counted.classes)
    parameters, macs = forward_cost(build, size)
    part = {"network": f"teacher {section.model}", "parameters": parameters, "macs": macs}
    if section.recipe is None:
        return part
    cost = cost_of(build, size, section.recipe.precision)
    memory = _optimised_bytes(parameters, section.recipe) + cost.kept + section.recipe.batch_size * cost.kept_per_image
    return part | training_part(
        setup, section.recipe, trained=parameters, macs_of_an_image=_PASSES * macs, memory=memory
    )
