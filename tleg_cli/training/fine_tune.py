"""A trained network for other classes: fine-tuned at its own depth with a fresh head, before `tleg adopt` trains it at many depths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.adopt import adopt_network
from tleg_cli.models.descendant import descendant_folder
from tleg_cli.training.distributed import World, wait_for_all
from tleg_cli.training.job import Observer, open_data
from tleg_cli.training.train_descendants import RESULT, train_descendants


def fine_tuned(
    network: Learngene,
    config: Config,
    folder: Path,
    world: World,
    observer: Observer,
    allow_changed: Sequence[str] = (),
) -> Learngene:
    """The network of full rank with a head for the data's classes, trained by labels with the recipe of `descendant`.

    folder: holds the network as it was and the run of its training, which continues or is skipped when it is there already.
    Raises ConfigError for data without labels, DataError for data with one class.
    """
    if config.data.unlabelled is not None:
        raise ConfigError("--fresh-head is trained with labels, and --unlabelled has none; leave one of them out")
    with open_data(config, world):
        pass  # what can't be trained on is refused before anything is written
    depth = network.metadata.depth
    start = folder / "start.pt"
    if world.main and not start.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_learngene(network, start)
    wait_for_all(world)
    _check_same(network, start)
    section = config.descendant.model_copy(update={"depths": format_depth(depth), "fresh_head": True})
    observer.say(
        f"fine-tuning at depth {format_depth(depth)} with a fresh head: {section.recipe_at(format_depth(depth)).epochs} epochs"
    )
    own = config.model_copy(update={"descendant": section})
    train_descendants(own, start, [depth], folder, world, observer, allow_changed)
    return adopt_network(folder / descendant_folder(depth) / RESULT).learngene


def _check_same(network: Learngene, start: Path) -> None:
    """Raises ConfigError if an earlier command began with another network in this folder."""
    there = read_learngene(start)
    pairs = [(network.theta, there.theta), (network.shared, there.shared)]
    if not all(
        set(ours) == set(its) and all(torch.equal(ours[name], its[name]) for name in ours) for ours, its in pairs
    ):
        raise ConfigError(f"{start} holds another network, from an earlier command; choose another --out")
