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
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import ModelCard, load_card, load_strictly, read_card, read_weights
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import evaluate


def evaluate_file(
    path: Path, data: str, depth: str | None, split: str, batch_size: int, workers: int, precision: str, world: World
) -> dict[str, Any]:
    """Scores as plain values. Raises ConfigError where network and data don't fit, FileFormatError for other files."""
    model, card = _open(path, depth)
    section = DataSection(
        path=data, image_size=card.image_size, mean=card.mean, std=card.std, crop_pct=card.crop_pct, workers=workers
    )
    classes = len(describe(section).classes)
    if classes != card.classes:
        raise ConfigError(f"{path} knows {card.classes} classes, {data} has {classes}")
    loader = open_eval_loader(section, batch_size=batch_size, rank=world.rank, world=world.size, split=split)
    with closing(loader), closing(loader.epoch(0)) as batches:
        scores = evaluate(
            model.to(world.device),
            batches,
            world,
            mean=card.mean,
            std=card.std,
            precision=precision,
            expected=loader.samples,
        )
    return {"file": str(path), "data": data, "split": split, **asdict(scores)}


def _open(path: Path, depth: str | None) -> tuple[nn.Module, ModelCard]:
    card = read_card(path)
    if card is not None:
        if depth is not None:
            raise ConfigError(f"{path} is a network of one depth; --depth is for learngenes")
        model = load_card(card)
        load_strictly(model, read_weights(path), str(path))
        return model, card
    learngene = read_learngene(path, plugin_manager.bases())
    depths = parse_depths(depth) if depth else [learngene.metadata.depth]
    if len(depths) != 1:
        raise ConfigError(f"--depth {depth} names {len(depths)} networks; one is needed")
    card = descendant_card(learngene, depths[0], learngene.metadata.classes, learngene.metadata.crop_pct)
    return expanded_model(learngene, depths[0]), card
