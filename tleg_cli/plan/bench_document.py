"""`tleg bench`: the parts of stage 1 as measured, with what they cost in operations and which batch fits."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.models.build import build_model
from tleg_cli.models.teacher import untrained_teacher
from tleg_cli.plan.bench import AUX_ALONE, PLAIN, Bench, bench
from tleg_cli.plan.cost import Cost, cost_at, cost_of, forward_cost
from tleg_cli.training.distributed import World
from tleg_cli.training.job import Observer
from tleg_cli.training.task import resolve

_LARGEST = 2**20  # images


def bench_document(
    config: Config, world: World, observer: Observer, *, seconds: float, against_plain: bool, find_batch: bool
) -> dict[str, Any]:
    """Plain values: parts with seconds and images per second, multiply-adds of an image's step, memory.

    find_batch: first sets aux.batch_size to the largest power of two that a step has memory for; raises ConfigError without a GPU.
    """
    if find_batch:
        if world.device.type != "cuda":
            raise ConfigError(
                "--find-batch looks for the limit of a GPU's memory, but this machine has none; leave it out"
            )
        config = _with_batch(config, largest_batch_of(config, world, observer))
    measured = bench(config, world, observer, seconds=seconds, against_plain=against_plain)
    plain, alone = measured.rate(PLAIN), measured.rate(AUX_ALONE)
    return {
        "depth": config.aux.depth,
        "batch_size": config.aux.batch_size,
        "image_size": config.data.image_size,
        "precision": config.aux.precision,
        "compiled": measured.compiled,
        "workers": config.data.workers,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu",
        "parts": [
            {"part": part.name, "ms": 1e3 * part.seconds, "images_per_second": part.rate} for part in measured.parts
        ],
        "macs_per_image": macs_of_a_step(measured),
        **({} if measured.peak_memory is None else {"peak_memory_bytes": measured.peak_memory}),
        **({"ratio_to_plain": plain / alone} if plain and alone else {}),
    }


def macs_of_a_step(measured: Bench) -> int:
    """Of one image: the student once forward and twice backward, averaged over the depths of steps, and the teacher forward."""
    task = measured.task
    recipe, draw = task.config.aux, task.draw
    drops = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}

    def trace(depth: Depth) -> Cost:
        build = partial(build_model, task.backbone, task.options, depth, measured.classes, **drops)
        return cost_of(build, task.config.data.image_size, recipe.precision)

    depths = draw.depths if draw else (task.depth,)
    each = [float(cost_at(trace, depth).macs) for depth in depths]
    student = draw.mean(each) if draw else each[0]
    if recipe.distillation.alpha == 0:
        return round(3 * student)
    build, size = untrained_teacher(task.config.teacher, task.config.data.image_size, measured.classes)
    return round(3 * student + forward_cost(build, size)[1])


def largest_batch(fits: Callable[[int], bool]) -> int:
    """The largest power of two for which `fits` is true; it is asked from 1 upwards. Raises ConfigError if not even 1 fits."""
    batch = 0
    while batch < _LARGEST and fits(max(1, 2 * batch)):
        batch = max(1, 2 * batch)
    if not batch:
        raise ConfigError("not even one image fits into the GPU's memory; take a smaller preset or image size")
    return batch


def largest_batch_of(config: Config, world: World, observer: Observer) -> int:
    """The largest power of two for which the device has memory for a step at the deepest depth, without compiled blocks.

    Raises ConfigError if not even one image fits.
    """
    without_data = config.model_copy(update={"data": config.data.model_copy(update={"path": None})})
    return largest_batch(partial(_fits, _at_the_deepest(without_data), world, observer))


def _fits(config: Config, world: World, observer: Observer, batch: int) -> bool:
    observer.say(f"trying {batch} images")
    try:
        bench(_with_batch(config, batch), world, observer, seconds=0.0, against_plain=False)
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        return False
    finally:  # by now the error is gone, and with it the frames that held the network
        gc.collect()
        torch.cuda.empty_cache()
    return True


def _is_out_of_memory(error: BaseException) -> bool:
    """A processor's memory has no error of its own in torch."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _at_the_deepest(config: Config) -> Config:
    """The config with its deepest depth alone, the one that needs the most memory, and without compiling for every batch."""
    draw = resolve(config).draw
    alone: dict[str, Any] = {}
    if draw is not None:
        deepest = format_depth(max(draw.depths, key=sum))
        alone = {"depth": deepest, "score_depths": None, "reference_depth": None}
    return config.model_copy(update={"aux": config.aux.model_copy(update={**alone, "compile": False})})


def _with_batch(config: Config, batch: int) -> Config:
    return config.model_copy(update={"aux": config.aux.model_copy(update={"batch_size": batch})})
