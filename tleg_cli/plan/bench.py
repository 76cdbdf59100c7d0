"""What limits a training on this machine: data, augmentation, teacher, student and the complete step, each measured alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from tleg_cli.augment.pipeline import step_generator
from tleg_cli.config import Config
from tleg_cli.data.batches import Batch, Loader
from tleg_cli.data.copy_ahead import Parts
from tleg_cli.errors import ConfigError
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.build import build_model
from tleg_cli.models.teacher import Adapted, LoadedTeacher, on_device, untrained_teacher
from tleg_cli.plan.timer import Part, Timer
from tleg_cli.training.compiled import compile_networks
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import autocast
from tleg_cli.training.gradient_checkpointing import checkpoint_blocks
from tleg_cli.training.job import Data, Job, Observer, open_data
from tleg_cli.training.losses import Distilled, label_loss
from tleg_cli.training.optim import make_optimizer
from tleg_cli.training.state import State, new_state
from tleg_cli.training.step import batches_for_steps, end_step, take_step
from tleg_cli.training.task import Task, check_task, resolve
from tleg_cli.training.teaching import taught_by

PLAIN = "plain timm step"
AUX_ALONE = "aux step, no teacher"


@dataclass(frozen=True)
class Bench:
    """parts: in the order of a step. peak_memory: bytes of the device, None on a processor. compiled: whether steps were."""

    task: Task
    classes: int
    parts: tuple[Part, ...]
    peak_memory: int | None
    compiled: bool

    def rate(self, name: str) -> float | None:
        """Images per second of a part, None if it was not measured."""
        return next((part.rate for part in self.parts if part.name == name), None)


def bench(config: Config, world: World, observer: Observer, *, seconds: float, against_plain: bool) -> Bench:
    """Times the parts of stage 1 with fresh weights; no file is read but the data's, none is written.

    config.data.path: None for random images in memory, and no figure for the data. seconds: for each part. against_plain: also
    times a plain network of the reference depth, in turn with the aux net. Raises ConfigError as the training would.
    """
    if against_plain and config.aux.accumulation > 1:
        raise ConfigError(
            "--compare needs aux.accumulation = 1, as plain training has it; add --set aux.accumulation=1"
        )
    device = world.device
    with get_ready(config, world, observer) as ready:
        task, classes, job, state, teacher = ready.task, ready.classes, ready.job, ready.state, ready.teacher
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        timer = Timer(device, seconds, config.aux.batch_size)
        parts = [*_data(job, timer, config, observer), *_alone(job, state, teacher, timer, observer)]
        parts += time_steps(
            job, state, world, timer, observer, with_data=(False, True) if config.data.path else (False,)
        )
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        if against_plain:
            parts += _plain(job, state, task, classes, timer, observer)
    return Bench(task, classes, tuple(parts), peak, ready.compiled)


@dataclass(frozen=True)
class Ready:
    """Stage 1 before its first step, with fresh weights. compiled: whether its steps are."""

    task: Task
    data: Data
    classes: int
    job: Job
    state: State
    teacher: LoadedTeacher | None
    compiled: bool


@contextmanager
def get_ready(config: Config, world: World, observer: Observer) -> Iterator[Ready]:
    """Raises ConfigError as the training would."""
    task, device = resolve(config), world.device
    check_task(task)
    with open_data(_with_some_data(config), world) as data:
        classes = len(data.classes)
        teacher = _fresh_teacher(task, classes, device)
        objective = Distilled(teacher.logits, config.aux.distillation) if teacher else label_loss
        job = data.job(objective, config.aux, draw=task.draw, stages=task.backbone.stages)
        job = taught_by(job, teacher, config, world, observer)
        torch.manual_seed(config.seed)
        metadata = task.metadata(data.classes)
        depths = task.draw.all if task.draw else ()
        drops = {"drop_rate": config.aux.drop_rate, "drop_path_rate": config.aux.drop_path}
        network = new_aux_net(task.backbone, task.basis, metadata, task.expansion, depths, **drops)
        state = new_state(network, config.aux, config.aux.lr, world)
        compiled = compile_networks(job, state, 1, observer)
        if config.aux.gradient_checkpointing:
            checkpoint_blocks(network, task.backbone.stages)
        yield Ready(task, data, classes, job, state, teacher, compiled)


def _with_some_data(config: Config) -> Config:
    """The config; without data, with random images for two batches of any of its trainings."""
    if config.data.path is not None:
        return config
    recipes = (config.aux, config.descendant, *([config.teacher.recipe] if config.teacher.recipe else []))
    images = 2 * max(recipe.batch_size for recipe in recipes)
    data = config.data.model_copy(update={"path": f"synthetic/{images}x{config.data.image_size}x10"})
    return config.model_copy(update={"data": data})


def _fresh_teacher(task: Task, classes: int, device: torch.device) -> LoadedTeacher | None:
    """The config's teacher with random weights: they cost what trained ones cost."""
    config = task.config
    if config.aux.distillation.alpha == 0:
        return None
    build, size = untrained_teacher(config.teacher, config.data.image_size, classes)
    network = Adapted(build(), size, torch.ones(3, 1, 1), torch.zeros(3, 1, 1)).eval().requires_grad_(False)
    return LoadedTeacher(on_device(network, device))


def endless(loader: Loader) -> Generator[Batch, None, None]:
    """Batches of epoch after epoch."""
    for epoch in itertools.count():
        with closing(loader.epoch(epoch)) as batches:
            yield from batches


def _data(job: Job, timer: Timer, config: Config, observer: Observer) -> list[Part]:
    if config.data.path is None:
        return []
    observer.say("measuring: data")
    with closing(endless(job.train)) as batches:
        return [timer.part("data", lambda: next(batches))]


def _held(job: Job, device: torch.device) -> Batch:
    """One batch on the device."""
    with closing(job.train.epoch(0)) as batches:
        images, labels = next(batches)
    return images.to(device, copy=True), labels.to(device, copy=True)


def _alone(job: Job, state: State, teacher: LoadedTeacher | None, timer: Timer, observer: Observer) -> list[Part]:
    """Augmentation, teacher and student, each on a batch that is on the device already."""
    observer.say("measuring: augmentation, teacher, student")
    device, precision = timer.device, job.recipe.precision
    images, labels = _held(job, device)
    numbers = itertools.count()

    def augment() -> tuple[torch.Tensor, torch.Tensor]:
        return job.augment(images, labels, step_generator(job.seed, next(numbers), 0, device))

    inputs, _ = augment()

    def teach() -> None:
        assert teacher is not None
        with autocast(precision, device):
            teacher.logits(inputs)

    parts = [timer.part("augmentation", augment)]
    if teacher is not None:
        parts.append(timer.part("teacher", teach))
    return [*parts, timer.part("student", _student(job, state.network, inputs))]


def _student(job: Job, network: nn.Module, inputs: torch.Tensor) -> Callable[[], None]:
    """Forward and backward pass of one batch, at the depths that steps have."""
    steps = itertools.count()

    def student() -> None:
        depth = () if job.draw is None else (job.draw.at(next(steps)),)
        with autocast(job.recipe.precision, inputs.device):
            network(inputs, *depth).float().square().mean().backward()
        network.zero_grad(set_to_none=True)

    network.train()
    return student


def time_steps(
    job: Job, state: State, world: World, timer: Timer, observer: Observer, *, with_data: Sequence[bool]
) -> list[Part]:
    """The complete step, on images in memory or with the loader, for each of with_data."""
    observer.say("measuring: complete steps")
    held = _held(job, timer.device)

    def stepping(batches: Iterator[Parts]) -> Callable[[], None]:
        def step() -> None:
            take_step(job, state, batches, world)
            end_step(state)
            state.step += 1

        return step

    state.replica.train()
    timer = replace(timer, images=job.recipe.batch_size * job.recipe.accumulation)
    parts = []
    for loaded in with_data:
        if not loaded:
            parts.append(timer.part("step", stepping(itertools.repeat(held))))
            continue
        first = state.step * job.recipe.accumulation
        with closing(batches_for_steps(endless(job.train), job, first, world)) as batches:
            parts.append(timer.part("step with data", stepping(batches)))
    return parts


def _plain(job: Job, state: State, task: Task, classes: int, timer: Timer, observer: Observer) -> list[Part]:
    """A plain network of the reference depth and the aux net at that depth, in turn: passes and AdamW, no teacher."""
    observer.say("measuring: a plain network")
    recipe, device = task.config.aux, timer.device
    drops = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
    plain = build_model(task.backbone, task.options, task.depth, classes, **drops).to(device)
    images, _ = job.augment(*_held(job, device), step_generator(job.seed, 0, 0, device))

    def training(network: nn.Module) -> Callable[[], None]:
        network.train()
        optimizer = make_optimizer(network, recipe, recipe.lr, fused=state.checks_late)

        def step() -> None:
            with autocast(recipe.precision, device):
                network(images).float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    return timer.parts({PLAIN: training(plain), AUX_ALONE: training(state.network)})
