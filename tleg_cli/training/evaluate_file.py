"""`tleg evaluate` as a library call: a file that tleg wrote becomes its network, and that gets its scores."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.config import DataSection
from tleg_cli.data.open import describe, open_eval_loader
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.class_names import match_classes, read_class_map, reordered
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import ModelCard, network_of, read_card, read_weights
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import evaluate


def evaluate_file(
    path: Path,
    data: str,
    depth: str | None,
    split: str,
    batch_size: int,
    workers: int,
    precision: str,
    world: World,
    class_map: Path | None = None,
) -> dict[str, Any]:
    """Scores as plain values. Raises ConfigError where network and data don't fit, FileFormatError for other files.

    class_map: how the network's classes are called in the data; see models/class_names.py.
    """
    model, card = _open(path, depth)
    section = DataSection(path=data, **card.input.values(), workers=workers)
    names = card.class_names if class_map is None else read_class_map(class_map, card.classes)
    match = match_classes(names, card.classes, describe(section).classes, str(path))
    loader = open_eval_loader(section, batch_size=batch_size, rank=world.rank, world=world.size, split=split)
    with closing(loader), closing(loader.epoch(0)) as batches:
        scores = evaluate(
            reordered(model, match).to(world.device),
            batches,
            world,
            mean=card.input.mean,
            std=card.input.std,
            precision=precision,
            expected=loader.samples,
        )
    note = {"note": match.note} if match.note else {}
    return {"file": str(path), "data": data, "split": split, **asdict(scores), **note}


def _open(path: Path, depth: str | None) -> tuple[nn.Module, ModelCard]:
    card = read_card(path)
    if card is not None:
        if depth is not None:
            raise ConfigError(f"{path} is a network of one depth; --depth is for learngenes")
        return network_of(card, read_weights(path), str(path)), card
    learngene = read_learngene(path, plugin_manager.bases())
    depths = parse_depths(depth) if depth else [learngene.metadata.depth]
    if len(depths) != 1:
        raise ConfigError(f"--depth {depth} names {len(depths)} networks; one is needed")
    metadata = learngene.metadata
    card = descendant_card(learngene, depths[0], metadata.classes, metadata.class_names, metadata.input.crop_pct)
    return expanded_model(learngene, depths[0]), card
