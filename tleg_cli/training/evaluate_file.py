"""`tleg evaluate` as a library call: a file that tleg wrote becomes its network, and that gets its scores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.config import DataSection
from tleg_cli.data.open import describe, open_eval_loader
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.branches import reread
from tleg_cli.models.class_names import match_classes, read_class_map, reordered
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import ModelCard, network_of, read_card, read_weights
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import evaluate


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored. depth, positions, step: of a learngene.

    class_map: the network's classes in the data; see models/class_names.py.
    """

    path: Path
    data: str
    depth: str | None = None
    split: str = "val"
    batch_size: int = 128
    workers: int = 4
    precision: str = "fp32"
    class_map: Path | None = None
    positions: str | None = None
    step: str | None = None


def evaluate_file(wanted: Evaluation, world: World, say: Callable[[str], None]) -> dict[str, Any]:
    """Scores as plain values. say: takes what the user should know, one line each.

    Raises ConfigError if network and data don't fit, FileFormatError for other files.
    """
    path, data = wanted.path, wanted.data
    model, card = _open(wanted)
    section = DataSection(path=data, **card.input.values(), workers=wanted.workers)
    names = card.class_names if wanted.class_map is None else read_class_map(wanted.class_map, card.classes)
    match = match_classes(names, card.classes, describe(section).classes, str(path))
    if match.note:
        say(match.note)
    loader = open_eval_loader(
        section, batch_size=wanted.batch_size, rank=world.rank, world=world.size, split=wanted.split
    )
    with closing(loader), closing(loader.epoch(0)) as batches:
        scores = evaluate(
            reordered(model, match).to(world.device),
            batches,
            world,
            mean=card.input.mean,
            std=card.input.std,
            precision=wanted.precision,
            expected=loader.samples,
        )
    return {"file": str(path), "data": data, "split": wanted.split, **asdict(scores)}


def _open(wanted: Evaluation) -> tuple[nn.Module, ModelCard]:
    path, depth = wanted.path, wanted.depth
    card = read_card(path)
    if card is not None:
        for option in ("depth", "step", "positions"):
            if getattr(wanted, option) is not None:
                raise ConfigError(f"{path} is a network of one depth; --{option} is for learngenes")
        return network_of(card, read_weights(path), str(path)), card
    learngene = reread(read_learngene(path, plugin_manager.bases()), wanted.positions, wanted.step)
    depths = parse_depths(depth) if depth else [learngene.metadata.depth]
    if len(depths) != 1:
        raise ConfigError(f"--depth {depth} names {len(depths)} networks; one is needed")
    metadata = learngene.metadata
    card = descendant_card(learngene, depths[0], metadata.classes, metadata.class_names, metadata.input.crop_pct)
    return expanded_model(learngene, depths[0]), card
