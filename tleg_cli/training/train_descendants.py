"""Stage 2, `tleg train-des`: one network for each depth, from the expanded learngene or from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.config import Config, DescendantSection, Recipe
from tleg_cli.errors import ConfigError
from tleg_cli.files import file_hash
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.branches import reread
from tleg_cli.models.build import build_model
from tleg_cli.models.coefficient_net import new_coefficient_net, plain_size, plain_weights
from tleg_cli.models.descendant import (
    at_image_size,
    descendant_card,
    descendant_folder,
    expanded_model,
    full_depth,
    head_for_data,
)
from tleg_cli.models.model_file import write_model
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import check_recipe
from tleg_cli.training.identity import identity
from tleg_cli.training.job import Data, Observer, open_data
from tleg_cli.training.loop import train
from tleg_cli.training.losses import label_loss
from tleg_cli.training.provenance import provenance, scores_of
from tleg_cli.training.records import FamilySummary, Summary
from tleg_cli.training.run import open_run
from tleg_cli.training.run_folder import read_json, read_summary, write_summary
from tleg_cli.training.state import State
from tleg_cli.training.task import check_fits, resolve

RESULT = "model.safetensors"


@dataclass(frozen=True)
class Origin:
    """Where the weights of a family come from. init: learngene or scratch. source: the learngene file's name and hash.

    learngene: for images of the data's size; without a file it has no weights and only names the networks.
    """

    init: str
    learngene: Learngene
    source: Mapping[str, str]
    fresh_head: bool = False  # of other classes than the data's


def train_descendants(
    config: Config,
    learngene_file: Path | None,
    depths: Sequence[Depth],
    out: Path,
    world: World,
    observer: Observer,
    allow_changed: Sequence[str] = (),
    *,
    scratch: bool = False,
) -> FamilySummary:
    """Trains one descendant for each depth in `out/depth-NN`. scratch: from fresh weights, with the same networks.

    Raises ConfigError if preset and learngene describe different networks.
    """
    with open_data(config, world) as data:
        origin = _origin(config, learngene_file, data, observer, scratch=scratch)
        trained = [_train_descendant(origin, depth, data, out, observer, allow_changed) for depth in depths]
    family = _family(out, trained, origin)
    if world.main:
        write_summary(out / "summary.json", family)
    return family


def _origin(config: Config, file: Path | None, data: Data, observer: Observer, *, scratch: bool) -> Origin:
    section = config.descendant
    if scratch and (section.positions or section.step):
        raise ConfigError("--init scratch has no learngene that --step or --positions could apply to; leave them out")
    if scratch and section.train == "coefficients":
        raise ConfigError(
            "--init scratch has no learngene whose coefficients could be trained; leave out --train coefficients"
        )
    if file is None:
        if not scratch:
            raise ConfigError("--learngene FILE is missing; `tleg train-aux` writes it as learngene.pt")
        task = resolve(config)
        metadata = replace(task.metadata(data.classes), options=task.options)
        return Origin("scratch", Learngene({}, {}, task.backbone.stages, task.basis, metadata), {})
    learngene = reread(read_learngene(file, plugin_manager.bases()), section.positions, section.step)
    check_fits(config, learngene)
    source = {"file": file.name, "sha256": file_hash(file)}
    if section.positions or section.step:  # not otherwise, so that older run folders stay the same runs
        source |= {"positions": learngene.expansion.positions, "step": learngene.expansion.step}
    its, pixels = learngene.metadata.input.image_size, config.data.image_size
    if its != pixels:
        observer.say(f"image size {pixels}, but the learngene's is {its}: timm resamples the position embedding")
        learngene = at_image_size(learngene, pixels)
    if scratch:
        return Origin("scratch", learngene, source)
    class_map = Path(section.class_map) if section.class_map else None
    head = head_for_data(learngene, data.classes, str(file), class_map, fresh=section.fresh_head)
    for note in head.notes:
        observer.say(note)
    return Origin("learngene", head.learngene, source, head.fresh)


def _train_descendant(
    origin: Origin, depth: Depth, data: Data, out: Path, observer: Observer, allow_changed: Sequence[str]
) -> Summary:
    config, world, name = data.config, data.world, format_depth(depth)
    recipe = config.descendant.recipe_at(name)
    observer.say(f"depth {name} from {origin.init}")
    source = dict(origin.source)
    inputs = {"command": "train-des", "depth": name, "init": origin.init, "learngene": source, **_head_identity(config)}
    check_trained_part(config.descendant, recipe)
    if config.descendant.train != "all":  # not otherwise, so that older run folders stay the same runs
        inputs["train"] = config.descendant.train
    what = identity(config, recipe, world, data.classes, **inputs)
    folder = out / descendant_folder(depth)
    with open_run(folder, what, config, world, observer, allow_changed) as run:
        if run.summary is not None:
            return run.summary
        check_recipe(recipe, world, observer.say)
        torch.manual_seed(config.seed)
        network = _new_descendant(origin, depth, len(data.classes), config.descendant.train, recipe)
        job = data.job(label_loss, recipe, evaluate_first=True, stages=origin.learngene.stages)
        state = train(network, job, run, observer)
        if world.main:
            _write_models(state, origin, depth, data, folder)
        result = {
            "depth": name,
            "init": origin.init,
            "parameters": plain_size(network),
            **_trained_part(config, network),
        }
        return run.finish(state.history, kind="descendant", **result, file=RESULT)


def check_trained_part(section: DescendantSection, recipe: Recipe) -> None:
    """Raises ConfigError for a recipe that training only the coefficients can't follow."""
    if section.train == "coefficients" and recipe.layer_decay is not None:
        raise ConfigError(
            "--train coefficients keeps those of all blocks in one tensor, so blocks can't have rates of their own; "
            "leave out descendant.layer_decay"
        )


def _trained_part(config: Config, network: nn.Module) -> dict[str, Any]:
    """What the summary and the card say if not everything was trained."""
    if config.descendant.train == "all":
        return {}
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return {"train": config.descendant.train, "trained_parameters": trained}


def _head_identity(config: Config) -> dict[str, Any]:
    """What decides which head the descendants get, if the config says anything about it."""
    section = config.descendant
    head: dict[str, Any] = {"fresh": True} if section.fresh_head else {}
    if section.class_map and Path(section.class_map).is_file():
        head["class_map"] = file_hash(Path(section.class_map))
    return {"head": head} if head else {}


def _new_descendant(origin: Origin, depth: Depth, classes: int, train: str, recipe: Recipe) -> nn.Module:
    learngene, drops = origin.learngene, {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
    if origin.init == "learngene":
        model = expanded_model(learngene, depth, classes, fresh_head=origin.fresh_head, **drops)
        return new_coefficient_net(learngene, depth, model) if train == "coefficients" else model
    backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    return build_model(backbone, learngene.metadata.options, full_depth(learngene, depth), classes, **drops)


def _write_models(state: State, origin: Origin, depth: Depth, data: Data, folder: Path) -> None:
    """The weights of the last step and, with EMA, their average."""
    config = data.config
    facts = provenance(
        init=origin.init,
        data=config.data.path,
        seed=config.seed,
        **_trained_part(config, state.network),
        **scores_of(state.history),
    )
    card = descendant_card(
        origin.learngene, depth, len(data.classes), data.classes, config.data.crop_pct, training=facts
    )
    write_model(folder / RESULT, plain_weights(state.network), card)
    if state.ema is not None:
        write_model(folder / "model_ema.safetensors", plain_weights(state.ema.module), card)


def _family(out: Path, trained: Sequence[Summary], origin: Origin) -> FamilySummary:
    """The summary of `out`: the descendants that were just trained, and finished ones of earlier commands, by depth."""
    found = {one["depth"]: one for one in trained}
    for folder in sorted(out.glob("depth-*")):
        one = _finished_earlier(folder, origin)
        if one is not None:
            found.setdefault(one["depth"], one)
    order = sorted(found, key=lambda depth: [int(blocks) for blocks in depth.split(":")])
    return {"kind": "family", "init": origin.init, "descendants": [found[depth] for depth in order]}


def _finished_earlier(folder: Path, origin: Origin) -> Summary | None:
    """The summary of a finished descendant of the same init and learngene."""
    summary = read_summary(folder / "summary.json")
    if summary is None or summary["kind"] != "descendant" or summary["init"] != origin.init:
        return None
    learngene = read_json(folder / "run.json").get("learngene")
    sha256 = learngene.get("sha256") if isinstance(learngene, dict) else None
    return summary if sha256 == origin.source.get("sha256") else None
