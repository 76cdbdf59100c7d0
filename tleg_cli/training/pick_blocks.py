"""Which blocks of an adopted network the shallower networks take: by importance, measured on training images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tleg_cli.augment.pipeline import step_generator
from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.basis import RANKED, ranked
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.descendant import expanded_model
from tleg_cli.models.importance import RANKING_BATCHES, rank_blocks
from tleg_cli.plugin_manager import get_basis
from tleg_cli.training.distributed import World, from_main
from tleg_cli.training.job import Observer, open_data
from tleg_cli.training.losses import label_loss
from tleg_cli.training.repair import recorded_identity
from tleg_cli.training.run_folder import RunFolder
from tleg_cli.training.task import resolve
from tleg_cli.training.train_aux import start_for


def by_importance(network: Learngene, config: Config, folder: Path, world: World, observer: Observer) -> Learngene:
    """The same blocks under a basis that ranks them; the ranking of a run that has begun in `folder` is kept.

    Raises ConfigError for a network of several stages.
    """
    if len(network.stages) > 1:
        raise ConfigError(
            f"--pick importance ranks the blocks of one stage, and {network.metadata.backbone} has {len(network.stages)}; leave it out"
        )
    run = RunFolder(folder)
    if from_main(world.main and run.has_begun(), world):
        name = str(recorded_identity(run, observer.say).get("basis", ""))
        if name.startswith(f"{RANKED}:"):
            return replace(network, basis=get_basis(name))
    observer.say("measuring the importance of each block")
    order = from_main(_order(network, config, world) if world.main else None, world)
    observer.say(f"blocks by importance, the most important first: {', '.join(map(str, order))}")
    return replace(network, basis=ranked(order))


def _order(network: Learngene, config: Config, world: World) -> Sequence[int]:
    model = expanded_model(network, network.metadata.depth).to(world.device)
    stage = model.get_submodule(network.stages[0])
    return rank_blocks(model, list(stage.children()), _images(network, config, world))


def _images(network: Learngene, config: Config, world: World) -> list[Tensor]:
    """Batches as the training sees them. Raises ConfigError if the training would refuse network or data."""
    alone, task = World(0, 1, world.device), resolve(config)
    with open_data(config, alone, without_labels=True) as data:
        start_for(network, task, task.metadata(data.classes))
        job = data.job(label_loss, config.aux)
        found = []
        with closing(job.train.epoch(0)) as batches:
            for number, (images, labels) in zip(range(RANKING_BATCHES), batches, strict=False):
                generator = step_generator(config.seed, number, 0, world.device)
                found.append(job.augment(images.to(world.device), labels.to(world.device), generator)[0])
        return found
