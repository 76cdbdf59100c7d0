"""`tleg evaluate` as a library call: a file that tleg wrote becomes its network, and that gets its scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.config import DataSection
from tleg_cli.data.batches import Loader
from tleg_cli.data.open import describe, open_eval_loader
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import format_depth, parse_depths
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.any_file import open_network
from tleg_cli.models.branches import reread
from tleg_cli.models.class_names import match_classes, read_class_map, reordered
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import ModelCard
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import Scores, evaluate
from tleg_cli.training.records import DepthScores, EvaluationReport
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.read_header import read_header


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored. depth, positions, step: of a learngene, which may be scored at several depths.

    class_map: the network's classes in the data; see models/class_names.py. weight_set, model, options: of a file that
    another program wrote; see models/any_file.py.
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
    weight_set: str = "auto"
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def evaluate_file(wanted: Evaluation, world: World, say: Callable[[str], None]) -> EvaluationReport:
    """Scores as plain values; of several depths a list of them, under `depths`. say: takes what the user should know, one line each.

    Raises ConfigError if network and data don't fit, FileFormatError for other files.
    """
    path, data = wanted.path, wanted.data
    opened = _open(wanted)
    card = opened.card
    section = DataSection(path=data, **card.input.values(), workers=wanted.workers)
    names = card.class_names if wanted.class_map is None else read_class_map(wanted.class_map, card.classes)
    match = match_classes(names, card.classes, describe(section).classes, str(path))
    for note in (*opened.notes, match.note):
        if note:
            say(note)
    loader = open_eval_loader(
        section, batch_size=wanted.batch_size, rank=world.rank, world=world.size, split=wanted.split
    )
    found: list[DepthScores] = []
    with closing(loader):
        for depth, build in opened.networks.items():  # one at a time: twelve of them may not fit into the memory
            scores = _score(reordered(build(), match), card.input, loader, wanted.precision, world)
            loss = scores.loss if math.isfinite(scores.loss) else None
            if loss is None:
                where = f"{path} at depth {depth}" if len(opened.networks) > 1 else str(path)
                say(f"{where}: the loss is not finite: logits overflow, perhaps with --precision {wanted.precision}")
            found.append(
                {"depth": depth, "top1": scores.top1, "top5": scores.top5, "loss": loss, "images": scores.images}
            )
    report: EvaluationReport = {"file": str(path), "data": data, "split": wanted.split}
    if len(found) > 1:
        return {**report, "depths": found}
    one = found[0]
    return {**report, "top1": one["top1"], "top5": one["top5"], "loss": one["loss"], "images": one["images"]}


def _score(network: nn.Module, input_spec: InputSpec, loader: Loader, precision: str, world: World) -> Scores:
    with closing(loader.epoch(0)) as batches:
        return evaluate(
            network.to(world.device),
            batches,
            world,
            mean=input_spec.mean,
            std=input_spec.std,
            precision=precision,
            expected=loader.samples,
        )


@dataclass(frozen=True)
class _Opened:
    """networks: what builds each, by its depth. notes: what the user should know, one line each."""

    card: ModelCard
    networks: Mapping[str, Callable[[], nn.Module]]
    notes: Sequence[str] = ()


def _open(wanted: Evaluation) -> _Opened:
    path, depth = wanted.path, wanted.depth
    if read_header(path, wanted.weight_set).tleg.get("format") != LEARNGENE_FORMAT:
        for option in ("depth", "step", "positions"):
            if getattr(wanted, option) is not None:
                raise ConfigError(f"{path} is a network of one depth; --{option} is for learngenes")
        found = open_network(path, wanted.weight_set, wanted.model, wanted.options)
        return _Opened(found.card, {"": lambda: found.network}, found.notes)
    learngene = reread(read_learngene(path, plugin_manager.bases()), wanted.positions, wanted.step)
    depths = parse_depths(depth) if depth else [learngene.metadata.depth]
    metadata = learngene.metadata
    card = descendant_card(learngene, depths[0], metadata.classes, metadata.class_names, metadata.input.crop_pct)
    return _Opened(card, {format_depth(one): partial(expanded_model, learngene, one) for one in depths})
