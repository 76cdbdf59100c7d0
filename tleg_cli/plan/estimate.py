"""`tleg plan --measure`: hours of every training, from a few timed steps of each kind of training."""

from __future__ import annotations

import torch

from tleg_cli.config import Config, Recipe
from tleg_cli.plan.bench import get_ready
from tleg_cli.plan.document import Estimate, Plan, TrainingHours, TrainingPlan
from tleg_cli.plan.pace import Pace, Stopwatch
from tleg_cli.training.distributed import World
from tleg_cli.training.job import Observer

_HERE = ("ffcv", "images")  # kinds of data that steps can load


def estimate(plan: Plan, config: Config, world: World, observer: Observer, *, seconds: float) -> Estimate:
    """Times steps and scoring of each kind of training here, on one process, with random weights: nothing is downloaded or written.

    Several processes are taken to share the work without loss. Without data, the images are random ones in memory. seconds: for
    each kind. Raises ConfigError as the training would.
    """
    with_data = plan["data"]["kind"] in _HERE
    if not with_data:
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": None})})
    teacher, scored = plan["teacher"], plan["data"]["val"]
    timed: list[tuple[TrainingPlan, Pace, int]] = []  # how many networks' epochs are scored
    with get_ready(config, world, observer) as ready:
        watch, draw = Stopwatch(ready, world, observer, seconds, with_data), ready.task.draw
        pace, step = watch.aux(plan["aux"])
        networks = _averages(config.aux) + (len(draw.scored) if draw else 0)
        timed.append((plan["aux"], pace, networks * plan["aux"]["epochs"]))
        if teacher is not None and "steps" in teacher and config.teacher.recipe is not None:
            scorings = _averages(config.teacher.recipe) * teacher["epochs"]
            timed.insert(0, (teacher, watch.teacher(teacher, config), scorings))
        for one, pace in zip(plan["descendants"], watch.descendants(plan["descendants"], config), strict=True):
            scorings = _averages(config.descendant.recipe_at(one["depth"])) * one["epochs"] + 1  # also before the first
            timed.append((one, pace, scorings))
    per_hour = 3600 * plan["processes"]
    trainings: list[TrainingHours] = [
        {
            "network": one["network"],
            "hours": (one["images"] * pace.train + scorings * scored * pace.score) / per_hour,
        }
        for one, pace, scorings in timed
    ]
    descendants = [(one, pace) for one, pace, _ in timed if one in plan["descendants"]]
    scratch = plan["family"]["scratch_epochs_each"]
    images = [scratch * one["steps_per_epoch"] * one["global_batch"] * pace.train for one, pace in descendants]
    return {
        "images_per_second": step.rate,
        "seconds_per_step": step.seconds,
        "images_per_step": step.images,
        "with_data": with_data,
        "device": torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu",
        "trainings": trainings,
        "hours": sum(one["hours"] for one in trainings),
        "scratch_hours": sum(images) / per_hour,
    }


def _averages(recipe: Recipe) -> int:
    return 1 + (recipe.ema_decay is not None)
