"""How long the trainings of a plan take for an image on this machine: a few steps of each kind, and of its scoring, with fresh weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from torch import nn

from tleg_cli.config import Config, Recipe
from tleg_cli.data.batches import Batch
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.models.build import build_model
from tleg_cli.models.teacher import new_teacher
from tleg_cli.plan.bench import Ready, endless, time_steps
from tleg_cli.plan.document import TrainingPlan
from tleg_cli.plan.timer import Part, Timer
from tleg_cli.training.compiled import compile_networks
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import evaluate
from tleg_cli.training.gradient_checkpointing import checkpoint_blocks
from tleg_cli.training.job import Job, Observer
from tleg_cli.training.losses import label_loss
from tleg_cli.training.state import State, new_state


@dataclass(frozen=True)
class Pace:
    """macs: of one image's forward pass. train, score: seconds that an image takes in a step, and in the scoring of a network."""

    macs: int
    train: float
    score: float


@dataclass(frozen=True)
class Stopwatch:
    """Times trainings that share data and machine. with_data: whether images are loaded, or are in memory."""

    ready: Ready
    world: World
    observer: Observer
    seconds: float
    with_data: bool

    def aux(self, one: TrainingPlan) -> tuple[Pace, Part]:
        """Of stage 1, and its step."""
        return self._pace(one["macs"], self.ready.job, self.ready.state, least=3)

    def teacher(self, one: TrainingPlan, config: Config) -> Pace:
        """Of a teacher's own training, from random weights in any case: nothing is downloaded."""
        assert config.teacher.recipe is not None
        section = config.teacher.model_copy(update={"pretrained": False})
        network, _ = new_teacher(section, config.data.input, self.ready.data.classes)
        return self._new(one["macs"], network, config.teacher.recipe, ())

    def descendants(self, planned: Sequence[TrainingPlan], config: Config) -> list[Pace]:
        """Of each: those with the fewest and the most multiply-adds are timed, and the others are on the line through both."""
        if not planned:
            return []
        ends = sorted({one["macs"]: one for one in planned}.items())
        timed = [self._descendant(one, config) for _, one in (ends if len(ends) == 1 else (ends[0], ends[-1]))]
        return [_between(timed[0], timed[-1], one["macs"]) for one in planned]

    def _descendant(self, one: TrainingPlan, config: Config) -> Pace:
        recipe, task = config.descendant.recipe_at(one["depth"]), self.ready.task
        (depth,) = parse_depths(one["depth"])
        drops = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
        network = build_model(task.backbone, task.options, task.complete(depth), self.ready.classes, **drops)
        return self._new(one["macs"], network, recipe, task.backbone.stages)

    def _new(self, macs: int, network: nn.Module, recipe: Recipe, stages: tuple[str, ...]) -> Pace:
        job = self.ready.data.job(label_loss, recipe, stages=stages)
        state = new_state(network, recipe, recipe.lr, self.world)
        compile_networks(job, state, 1, self.observer)
        if recipe.gradient_checkpointing:
            checkpoint_blocks(network, stages)
        return self._pace(macs, job, state, least=1)[0]

    def _pace(self, macs: int, job: Job, state: State, *, least: int) -> tuple[Pace, Part]:
        timer = Timer(self.world.device, self.seconds, job.recipe.batch_size, least)
        (step,) = time_steps(job, state, self.world, timer, self.observer, with_data=(self.with_data,))
        score = self._time_scoring(job, state.network, replace(timer, seconds=self.seconds / 4))
        return Pace(macs, step.seconds / step.images, score.seconds / score.images), step

    def _time_scoring(self, job: Job, network: nn.Module, timer: Timer) -> Part:
        """One batch after another of the validation images, or the same one."""

        def score_next() -> None:
            images, labels = next(batches)
            evaluate(
                network,
                [(images, labels)],
                self.world,
                mean=job.mean,
                std=job.std,
                precision=job.recipe.precision,
                expected=len(labels),
            )

        with closing(endless(job.val)) as loaded:
            first = next(loaded)
            held = (first[0].clone(), first[1].clone())  # the loader may use its memory again
            batches: Iterator[Batch] = loaded if self.with_data else itertools.repeat(held)
            return replace(timer, images=len(held[1])).part("scoring", score_next)


def _between(one: Pace, other: Pace, macs: int) -> Pace:
    """On the line through two that were timed."""
    share = 0.0 if one.macs == other.macs else (macs - one.macs) / (other.macs - one.macs)
    return Pace(macs, one.train + share * (other.train - one.train), one.score + share * (other.score - one.score))
