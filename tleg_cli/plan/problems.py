"""What a training would refuse, as far as a plan can know, in the training's own words: its rules are called, not written again.

Nothing is downloaded or trained. Of a teacher's file only the header is read; a learngene, which is small, is read completely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from tleg_cli import plugin_manager
from tleg_cli.augment.pipeline import make_augment
from tleg_cli.config import Config, DataSection, TeacherSection
from tleg_cli.errors import TlegError
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.build import without_weights
from tleg_cli.models.descendant import at_image_size, full_depth, head_for_data
from tleg_cli.models.model_file import check_shapes, read_card
from tleg_cli.models.teacher import check_classes, match_teacher, teacher_weights, untrained_teacher
from tleg_cli.plan.networks import Setup, pretrained_classes
from tleg_cli.training.optim import check_optimizer
from tleg_cli.training.task import check_fits, check_task
from tleg_cli.training.train_descendants import check_trained_part
from tleg_cli.weights.read_header import read_header

Check = Callable[[], object]  # raises TlegError where the command would


def find_problems(
    setup: Setup, depths: Sequence[Depth], learngene: Path | None = None, classes: int | None = None
) -> list[str]:
    """`COMMAND: why`, one line for each refusal. classes: of the data; None if they are only assumed."""
    lines = []
    for command, check in _checks(setup, depths, learngene, classes):
        try:
            check()
        except TlegError as error:
            lines.append(f"{command}: {error}")
    return list(dict.fromkeys(lines))  # an optimiser of many depths is one mistake


def _checks(
    setup: Setup, depths: Sequence[Depth], learngene: Path | None, classes: int | None
) -> Iterator[tuple[str, Check]]:
    config, teacher = setup.config, setup.config.teacher
    taught = config.aux.distillation.alpha > 0
    if taught and teacher.recipe is not None and not teacher.weights:
        yield "train-teacher", partial(check_optimizer, teacher.recipe)
    yield "train-aux", partial(check_task, setup.task)
    yield "train-aux", partial(check_optimizer, config.aux)
    for command in ("train-aux", "train-des"):
        yield command, partial(_check_augmentation, config, setup.counted.classes)
    if taught and classes is not None:
        yield "train-aux", partial(_check_teacher, teacher, config.data, classes, setup.counted.class_names)
    for depth in depths:
        recipe = config.descendant.recipe_at(format_depth(depth))
        yield "train-des", partial(check_optimizer, recipe)
        yield "train-des", partial(check_trained_part, config.descendant, recipe)
    if learngene is not None and learngene.is_file():
        yield "train-des", partial(_check_learngene, config, learngene, depths, setup.counted.class_names)


def _check_augmentation(config: Config, classes: int) -> None:
    mean, std = config.data.mean, config.data.std
    make_augment(config.augmentation, mean=mean, std=std, classes=classes, smoothing=config.aux.smoothing)


def _check_learngene(config: Config, file: Path, depths: Sequence[Depth], names: Sequence[str] | None) -> None:
    learngene = read_learngene(file, plugin_manager.bases())
    check_fits(config, learngene)
    for depth in depths:
        full_depth(learngene, depth)
    at_image_size(learngene, config.data.image_size)
    if names is not None:
        head_for_data(learngene, names, str(file))


def _check_teacher(section: TeacherSection, data: DataSection, classes: int, names: Sequence[str] | None) -> None:
    """A teacher has to know the data's classes, and its weights have to be those of its network."""
    if section.weights:
        if Path(section.weights).is_file():  # else it is listed as missing
            _check_teacher_file(section, data, classes, names)
        return
    found = pretrained_classes(section)
    if found is not None:
        check_classes(found, classes, section.model)


def _check_teacher_file(section: TeacherSection, data: DataSection, classes: int, names: Sequence[str] | None) -> None:
    """As load_teacher, with shapes instead of weights."""
    path = Path(str(section.weights))
    card, header = read_card(path), read_header(path)
    if card is not None:
        check_classes(card.classes, classes, str(path))
        if names is not None:
            match_teacher(card.class_names, card.classes, names, str(path))
    shapes = {
        name: torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype, torch.float32), device="meta")
        for name, tensor in header.tensors.items()
    }
    net = without_weights(untrained_teacher(section, data.image_size, classes)[0])
    if card is not None:
        check_shapes(net, shapes, str(path))
    else:
        teacher_weights(net, shapes, section, classes)
