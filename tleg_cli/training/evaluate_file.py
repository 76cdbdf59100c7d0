"""`tleg evaluate` as a library call: a file that tleg wrote becomes its network, and that gets its scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
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
from tleg_cli.learngene.gene import Learngene
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.any_file import open_network
from tleg_cli.models.branches import reread
from tleg_cli.models.class_names import match_classes, read_class_map, reordered
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import ModelCard, network_of
from tleg_cli.models.onnx_network import is_onnx, open_onnx
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import Scores, evaluate
from tleg_cli.training.kept_checkpoint import Which, open_kept
from tleg_cli.training.lock import CHECKPOINTS
from tleg_cli.training.records import DepthScores, EvaluationReport
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.hub import LEARNGENES, NETWORKS, local_file
from tleg_cli.weights.read_header import read_header


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored. depth, positions, step: of a learngene, which may be scored at several depths.

    class_map: the network's classes in the data; see models/class_names.py. weight_set, model, options: of a file that
    another program wrote; see models/any_file.py. checkpoint: see kept_checkpoint.py.
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
    checkpoint: Which | None = None  # of a run folder, in place of its result


def evaluate_file(wanted: Evaluation, world: World, say: Callable[[str], None]) -> EvaluationReport:
    """Scores as plain values; of several depths a list of them, under `depths`. say: takes what the user should know, one line each.

    Raises ConfigError if network and data don't fit, FileFormatError for other files.
    """
    if wanted.path.is_dir() and not (wanted.checkpoint and (wanted.path / CHECKPOINTS).is_dir()):
        return _evaluate_folder(wanted, world, say)
    data = wanted.data
    opened = open_scored(wanted)
    path = opened.file or wanted.path
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


def _evaluate_folder(wanted: Evaluation, world: World, say: Callable[[str], None]) -> EvaluationReport:
    """The result of a run, or every network of a family, by depth. Raises ConfigError for a folder that has neither."""
    folder = wanted.path
    if wanted.checkpoint is not None:
        return _evaluate_family(wanted, sorted(folder.glob(f"depth-*/{CHECKPOINTS}")), world, say)
    for name in ("learngene.pt", "model.safetensors", "teacher.safetensors"):
        if (folder / name).is_file():
            return evaluate_file(replace(wanted, path=folder / name), world, say)
    return _evaluate_family(wanted, sorted(folder.glob("depth-*/model.safetensors")), world, say)


def _evaluate_family(
    wanted: Evaluation, family: Sequence[Path], world: World, say: Callable[[str], None]
) -> EvaluationReport:
    """family: the file of every network, or its checkpoints, in a folder by depth."""
    folder, what = wanted.path, "network" if wanted.checkpoint is None else "checkpoint"
    if not family:
        raise ConfigError(f"{folder} has no {what}; give a run folder, or a family's with depth-06/model.safetensors")
    depths: list[DepthScores] = []
    for file in family:
        one = evaluate_file(replace(wanted, path=file if wanted.checkpoint is None else file.parent), world, say)
        depth = ":".join(str(int(part)) for part in file.parent.name.split("-")[1:] if part.isdigit())
        depths.append(
            {"depth": depth, "top1": one["top1"], "top5": one["top5"], "loss": one["loss"], "images": one["images"]}
        )
    return {"file": str(folder), "data": wanted.data, "split": wanted.split, "depths": depths}


def top1_by_depth(wanted: Evaluation, world: World, say: Callable[[str], None]) -> dict[str, float]:
    """Top-1 in percent of a learngene at each depth of `wanted`, in that order; raises as evaluate_file."""
    report = evaluate_file(wanted, world, say)
    if "depths" in report:
        return {one["depth"]: one["top1"] for one in report["depths"]}
    (depth,) = parse_depths(str(wanted.depth))
    return {format_depth(depth): report["top1"]}


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
class OpenedNetworks:
    """networks: what builds each, by its depth. notes: what the user should know, one line each."""

    card: ModelCard
    networks: Mapping[str, Callable[[], nn.Module]]
    notes: Sequence[str] = ()
    file: Path | None = None  # which one, if it isn't the one that was asked for


def open_scored(wanted: Evaluation) -> OpenedNetworks:
    """What is to be scored: the network of a file, or those of a learngene at its depths. Raises as evaluate_file."""
    if wanted.checkpoint is not None:
        return _open_kept(wanted)
    wanted = replace(wanted, path=local_file(wanted.path, (*LEARNGENES, *NETWORKS)))
    path = wanted.path
    if is_onnx(path) or read_header(path, wanted.weight_set).tleg.get("format") != LEARNGENE_FORMAT:
        _refuse_options_of_learngenes(wanted)
        if is_onnx(path):
            return _open_scored_onnx(wanted)
        found = open_network(path, wanted.weight_set, wanted.model, wanted.options)
        return OpenedNetworks(found.card, {"": lambda: found.network}, found.notes)
    return _open_learngene(read_learngene(path, plugin_manager.bases()), wanted)


def _refuse_options_of_learngenes(wanted: Evaluation) -> None:
    for option in ("depth", "step", "positions"):
        if getattr(wanted, option) is not None:
            raise ConfigError(f"{wanted.path} is a network of one depth; --{option} is for learngenes")


def _open_kept(wanted: Evaluation) -> OpenedNetworks:
    """The network or learngene of a checkpoint."""
    assert wanted.checkpoint is not None
    if not wanted.path.is_dir():
        raise ConfigError(f"{wanted.path} is not a run folder, which --checkpoint needs")
    if wanted.model is not None or wanted.options:
        raise ConfigError("a checkpoint of tleg is complete; --model and --option are for weights of others")
    kept = open_kept(wanted.path, wanted.checkpoint, wanted.weight_set)
    if kept.learngene is not None:
        return replace(_open_learngene(kept.learngene, wanted), notes=kept.notes, file=kept.path)
    _refuse_options_of_learngenes(wanted)
    assert kept.card is not None
    assert kept.weights is not None
    build = partial(network_of, kept.card, kept.weights, str(kept.path))
    return OpenedNetworks(kept.card, {"": build}, kept.notes, kept.path)


def _open_learngene(learngene: Learngene, wanted: Evaluation) -> OpenedNetworks:
    learngene = reread(learngene, wanted.positions, wanted.step)
    depths = parse_depths(wanted.depth) if wanted.depth else [learngene.metadata.depth]
    metadata = learngene.metadata
    card = descendant_card(learngene, depths[0], metadata.classes, metadata.class_names, metadata.input.crop_pct)
    return OpenedNetworks(card, {format_depth(one): partial(expanded_model, learngene, one) for one in depths})


def _open_scored_onnx(wanted: Evaluation) -> OpenedNetworks:
    if wanted.weight_set != "auto" or wanted.model is not None or wanted.options:
        raise ConfigError(f"{wanted.path} is complete; --weights, --model and --option are for files of weights")
    opened = open_onnx(wanted.path)
    return OpenedNetworks(opened.card, {"": lambda: opened.network})
