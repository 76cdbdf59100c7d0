"""What the training loop is given: how to train, on what, and who watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from tleg_cli.augment.pipeline import Augment, make_augment
from tleg_cli.config import Config, Recipe
from tleg_cli.data.batches import Loader
from tleg_cli.data.images_record import SplitRecord, images_record
from tleg_cli.data.open import describe, open_eval_loader, open_train_loader
from tleg_cli.errors import ConfigError, DataError
from tleg_cli.training.distributed import World
from tleg_cli.training.draw_depth import DepthDraw
from tleg_cli.training.in_place import InPlace
from tleg_cli.training.losses import Objective
from tleg_cli.training.optim import Budget
from tleg_cli.training.records import EpochRecord


class Observer(Protocol):
    """Follows a training and shows it. Only rank 0's observer shows anything."""

    def start(self, budget: Budget, done: int) -> None: ...
    def step(self, step: int, loss: Tensor, lr: float) -> None: ...
    def scoring(self, done: int, batches: int) -> None: ...
    def epoch(self, record: EpochRecord) -> None: ...
    def say(self, text: str) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Job:
    """How a network is trained, and on what. mean, std: of the normalisation, for pixels in 0..1."""

    objective: Objective
    recipe: Recipe
    train: Loader
    val: Loader
    augment: Augment
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int
    images: Mapping[str, SplitRecord] = field(default_factory=dict)  # which ones these are, for run.json
    evaluate_first: bool = False  # also score the network before its first step
    draw: DepthDraw | None = None  # of an any-depth stage 1
    patience: int | None = None  # epochs without a better profile over depths after which training ends
    in_place: InPlace | None = None  # its own deepest form as a second teacher
    trackers: tuple[str, ...] = ()  # in addition to metrics.jsonl
    stages: tuple[str, ...] = ()  # where the network's blocks are; none: a network of any kind
    teacher: nn.Module | None = None  # what the objective asks
    teach_ahead: bool = False  # augmentation and teacher run with the next batch, on a stream of their own


@dataclass(frozen=True)
class Data:
    """The data of one command. Loaders are kept by batch size for all its trainings: FFCV compiles each for seconds."""

    config: Config
    world: World
    classes: tuple[str, ...]
    closing: ExitStack
    loaders: dict[int, tuple[Loader, Loader]] = field(default_factory=dict)

    def job(
        self,
        objective: Objective,
        recipe: Recipe,
        *,
        evaluate_first: bool = False,
        draw: DepthDraw | None = None,
        patience: int | None = None,
        stages: tuple[str, ...] = (),
    ) -> Job:
        """A training on this data. Raises DataError for images that can't be opened, ConfigError for augmentation that can't be."""
        config = self.config
        mean, std = config.data.mean, config.data.std
        train, val = self._loaders(recipe.batch_size)
        augment = make_augment(
            config.augmentation, mean=mean, std=std, classes=len(self.classes), smoothing=recipe.smoothing
        )
        images = images_record(str(config.data.path), train, val)
        return Job(
            objective,
            recipe,
            train,
            val,
            augment,
            mean,
            std,
            config.seed,
            images,
            evaluate_first,
            draw,
            patience,
            stages=stages,
            trackers=config.trackers,
        )

    def _loaders(self, batch_size: int) -> tuple[Loader, Loader]:
        if batch_size not in self.loaders:
            config, rank, size = self.config, self.world.rank, self.world.size
            train = open_train_loader(
                config.data, config.augmentation, batch_size=batch_size, seed=config.seed, rank=rank, world=size
            )
            self.closing.callback(train.close)
            val = open_eval_loader(config.data, batch_size=batch_size, rank=rank, world=size)
            self.closing.callback(val.close)
            self.loaders[batch_size] = train, val
        return self.loaders[batch_size]


@contextmanager
def open_data(config: Config, world: World, *, without_labels: bool = False) -> Iterator[Data]:
    """The data that the config names; its loaders are closed when the block ends. Raises DataError if there is none, or one class only.

    without_labels: whether this training can do without labels. Raises ConfigError for such data if it can't.
    """
    if config.data.unlabelled is not None and not without_labels:
        raise ConfigError("data.unlabelled is for `tleg adopt`; this training needs images in class folders")
    classes = describe(config.data).classes
    if len(classes) < 2:
        raise DataError(
            f"{config.data.path} has one class ({classes[0]}), and a classifier needs two; if these are images without classes, "
            "`tleg adopt --unlabelled` trains on them"
        )
    with ExitStack() as stack:
        yield Data(config, world, classes, stack)
