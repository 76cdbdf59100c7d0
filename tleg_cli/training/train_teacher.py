"""`tleg train-teacher`: a network trained on labels, for data that no pretrained teacher fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.models.model_file import write_model
from tleg_cli.models.teacher import new_teacher
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import check_recipe
from tleg_cli.training.identity import identity
from tleg_cli.training.job import Observer, open_data
from tleg_cli.training.loop import train
from tleg_cli.training.losses import label_loss
from tleg_cli.training.provenance import provenance, scores_of
from tleg_cli.training.records import Summary
from tleg_cli.training.run import open_run

RESULT = "teacher.safetensors"


def train_teacher(
    config: Config, out: Path, world: World, observer: Observer, allow_changed: Sequence[str] = ()
) -> Summary:
    """Trains a teacher from scratch and writes `out/teacher.safetensors`. Raises ConfigError for a config without a recipe."""
    recipe = config.teacher.recipe
    if recipe is None:
        raise ConfigError(
            "this preset has no teacher.recipe: its teacher is trained already. For a preset that trains one on your images, run "
            f"`tleg init --data {config.data.path or 'DATA'} --out my.yaml`, then `tleg train-teacher --preset my.yaml`"
        )
    section = config.teacher.model_dump(mode="json", include={"model", "options", "image_size"})
    if config.teacher.pretrained:
        section["pretrained"] = True
    with open_data(config, world) as data:
        what = identity(config, recipe, world, data.classes, command="train-teacher", teacher=section)
        with open_run(out, what, config, world, observer, allow_changed) as run:
            if run.summary is not None:
                return run.summary
            check_recipe(recipe, world, observer.say)
            torch.manual_seed(config.seed)
            teacher, card = new_teacher(config.teacher, config.data.input, data.classes)
            state = train(teacher, data.job(label_loss, recipe), run, observer)
            if world.main:
                facts = provenance(data=config.data.path, **scores_of(state.history))
                write_model(out / RESULT, teacher.net.state_dict(), replace(card, provenance=facts))
            parameters = sum(parameter.numel() for parameter in teacher.parameters())
            return run.finish(state.history, kind="teacher", model=card.timm.name, parameters=parameters, file=RESULT)
