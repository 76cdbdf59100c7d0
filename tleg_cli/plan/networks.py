"""Each training of a plan: its network, its steps, its memory and its files."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial

from tleg_cli.config import Config, Recipe, TeacherSection
from tleg_cli.data.batches import batches_per_epoch
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.models.build import build_model
from tleg_cli.models.teacher import untrained_teacher
from tleg_cli.plan.cost import Cost, cost_at, cost_of, forward_cost
from tleg_cli.plan.count import Counted
from tleg_cli.plan.document import TrainingPlan
from tleg_cli.training.checkpoint import KEEP
from tleg_cli.training.optim import budget_of
from tleg_cli.training.task import Task

FP32 = 4  # bytes
_PASSES = 3  # a step multiplies once forward and twice backward
CHECKPOINTS = KEEP + 1  # the newest ones and the best


@dataclass(frozen=True)
class Setup:
    """What all trainings of a plan share. world: processes on all machines. traced: costs that are known, by what decides them."""

    task: Task
    counted: Counted
    world: int
    traced: dict[Hashable, Cost] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return self.task.config

    def cost(self, depth: Depth, recipe: Recipe) -> Cost:
        """Of the network of this depth."""
        training = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
        backbone, options, classes = self.task.backbone, self.task.options, self.counted.classes

        def trace(few: Depth) -> Cost:
            key = (few, *training.values(), recipe.precision)
            if key not in self.traced:
                build = partial(build_model, backbone, options, few, classes, **training)
                self.traced[key] = cost_of(build, self.config.data.image_size, recipe.precision)
            return self.traced[key]

        return cost_at(trace, depth)


def with_training(
    network: TrainingPlan, setup: Setup, recipe: Recipe, *, trained: int, macs_of_an_image: int, memory: int
) -> TrainingPlan:
    """`network` with steps, images, multiplications and bytes of its training. trained: how many parameters."""
    config = setup.config
    batches = batches_per_epoch(
        setup.counted.train, batch_size=recipe.batch_size, world=setup.world, repeats=config.augmentation.repeats
    )
    budget = budget_of(recipe, batches, setup.world)
    averages = 2 if recipe.ema_decay is not None else 1
    return {
        **network,
        "epochs": budget.epochs,
        "steps_per_epoch": budget.steps_per_epoch,
        "steps": budget.steps,
        "global_batch": budget.global_batch,
        "lr": budget.lr,
        "images": budget.steps * budget.global_batch,
        "training_macs": budget.steps * budget.global_batch * macs_of_an_image,
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


def descendant_plan(setup: Setup, depth: Depth) -> TrainingPlan:
    """One descendant."""
    name = format_depth(depth)
    recipe = setup.config.descendant.recipe_at(name)
    cost = setup.cost(setup.task.complete(depth), recipe)
    network: TrainingPlan = {
        "network": f"descendant {name}", "depth": name, "parameters": cost.parameters, "macs": cost.macs
    }  # fmt: skip
    activations = cost.kept + recipe.batch_size * cost.kept_per_image
    macs = _PASSES * cost.macs
    memory = _optimised_bytes(cost.parameters, recipe) + activations
    plan = with_training(network, setup, recipe, trained=cost.parameters, macs_of_an_image=macs, memory=memory)
    if setup.config.descendant.train == "all":
        return plan
    stored, blocks = _learngene_size(setup, cost, setup.task.complete(depth))  # the few trained values are left out
    averages = 1 + (recipe.ema_decay is not None)
    memory = FP32 * (averages * stored + 2 * blocks) + activations + _batch_bytes(recipe, setup.config.data.image_size)
    return {**plan, "memory_bytes": memory, "checkpoint_bytes": FP32 * stored * averages * CHECKPOINTS}


def _learngene_size(setup: Setup, cost: Cost, depth: Depth) -> tuple[int, int]:
    """Parameters of the learngene and of the blocks that it expands to at this depth. cost: of the network of this depth."""
    one_each = _one_block_each(setup)
    blocks = sum(size * count for size, count in zip(one_each, depth, strict=True))
    return cost.parameters - blocks + setup.task.basis.rank * sum(one_each), blocks


def aux_plan(setup: Setup, teacher: TrainingPlan | None) -> TrainingPlan:
    """The aux net. Its parameters are the learngene's: `rank` times one block of each stage, and what all depths share.

    Trained at several depths, it needs the memory of the deepest and the multiply-adds of an average step.
    """
    recipe, draw = setup.config.aux, setup.task.draw
    depth = max(draw.depths, key=sum) if draw else setup.task.depth
    cost = setup.cost(depth, recipe)
    macs_each = draw.mean([setup.cost(one, recipe).macs for one in draw.depths]) if draw else cost.macs
    learngene, blocks = _learngene_size(setup, cost, depth)
    expanded = 2 * FP32 * blocks  # the weights that each step expands, and their gradients
    memory = (
        _optimised_bytes(learngene, recipe)
        + expanded
        + (FP32 * teacher["parameters"] if teacher else 0)
        + cost.kept
        + recipe.batch_size * cost.kept_per_image
    )
    network: TrainingPlan = {
        "network": f"aux net {recipe.depth}",
        "depth": recipe.depth,
        "parameters": learngene,
        "macs": round(macs_each),
    }
    macs = round(_PASSES * macs_each + _in_place_macs(setup, cost.macs) + (teacher["macs"] if teacher else 0))
    return with_training(network, setup, recipe, trained=learngene, macs_of_an_image=macs, memory=memory)


def _in_place_macs(setup: Setup, deepest: int) -> float:
    """The deepest form's forward passes, averaged over all steps: those at other depths, once it has begun."""
    in_place, draw = setup.config.aux.in_place, setup.task.draw
    if not in_place.weight or draw is None:
        return 0.0
    others = draw.mean([float(depth != max(draw.depths, key=sum)) for depth in draw.depths])
    return deepest * others * (1 - in_place.start)


def _one_block_each(setup: Setup) -> list[int]:
    """Parameters of one block of each stage: build_model has checked that all blocks of a stage have the same."""
    import torch

    shallowest = (1,) * len(setup.task.backbone.stages)
    with torch.device("meta"):
        model = build_model(setup.task.backbone, setup.task.options, shallowest, setup.counted.classes)
    stages = [model.get_submodule(stage) for stage in setup.task.backbone.stages]
    return [sum(parameter.numel() for parameter in stage.parameters()) for stage in stages]


def teacher_plan(setup: Setup) -> TrainingPlan:
    """The teacher, with its training if the preset has a recipe for it and no file of weights is given."""
    config, section = setup.config, setup.config.teacher
    classes = pretrained_classes(section) or setup.counted.classes
    build, size = untrained_teacher(section, config.data.image_size, classes)
    parameters, macs = forward_cost(build, size)
    network: TrainingPlan = {"network": f"teacher {section.model}", "parameters": parameters, "macs": macs}
    recipe = section.recipe
    if recipe is None or section.weights:
        return network
    cost = cost_of(build, size, recipe.precision)
    memory = _optimised_bytes(parameters, recipe) + cost.kept + recipe.batch_size * cost.kept_per_image
    return with_training(network, setup, recipe, trained=parameters, macs_of_an_image=_PASSES * macs, memory=memory)


def pretrained_classes(section: TeacherSection) -> int | None:
    """The number of classes of a teacher that timm has trained; None for one from a file or a recipe."""
    from timm.models import get_pretrained_cfg

    if section.weights or section.recipe is not None:
        return None
    usual = get_pretrained_cfg(section.model)
    return section.options.get("num_classes", usual.num_classes if usual else None)
