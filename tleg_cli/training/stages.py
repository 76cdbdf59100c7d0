"""The three trainings as one library call each: teacher, aux net (stage 1), descendants (stage 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.files import file_hash
from tleg_cli.learngene.depths import Depth, complete_depth, format_depth, parse_depths
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.aux_net import AuxNet, new_aux_net, too_shallow
from tleg_cli.models.build import build_model
from tleg_cli.models.descendant import (
    at_image_size,
    descendant_card,
    descendant_folder,
    expanded_model,
    full_depth,
    head_for_data,
)
from tleg_cli.models.model_file import write_model
from tleg_cli.models.teacher import load_teacher, new_teacher
from tleg_cli.training.distributed import World
from tleg_cli.training.family import family_of
from tleg_cli.training.loop import State, Watch
from tleg_cli.training.losses import Objective, distill_from, label_loss
from tleg_cli.training.provenance import provenance, scores_of
from tleg_cli.training.run import Setting, Summary, setting, train_in
from tleg_cli.training.run_folder import write_summary
from tleg_cli.training.stage_checks import aux_metadata, check_fits, check_image_size


def train_teacher(config: Config, out: Path, world: World, watch: Watch, allow_changed: Sequence[str] = ()) -> Summary:
    """Trains an ancestor from scratch on labels and writes `out/teacher.safetensors`. Raises ConfigError without a recipe."""
    recipe = config.teacher.recipe
    if recipe is None:
        raise ConfigError(
            "this preset has no teacher.recipe: its ancestor comes pretrained; add one, or use --preset digits"
        )
    with setting(config, world, watch, allow_changed) as shared:
        torch.manual_seed(config.seed)  # its weights are drawn here, not in train_in's `make`
        model, card = new_teacher(config.teacher, config.data.input, shared.data.classes)

        def finish(state: State) -> Mapping[str, Any]:
            facts = provenance(data=config.data.path, **scores_of(state.history))
            write_model(out / "teacher.safetensors", model.net.state_dict(), replace(card, provenance=facts))
            return {
                "kind": "teacher",
                "model": card.timm.name,
                "parameters": _count(model),
                "file": "teacher.safetensors",
            }

        inputs = {
            "command": "train-teacher",
            "teacher": config.teacher.model_dump(mode="json", exclude={"recipe", "weights"}),
        }
        return train_in(out, shared, recipe, inputs, lambda: (model, label_loss), finish)


def train_aux(config: Config, out: Path, world: World, watch: Watch, allow_changed: Sequence[str] = ()) -> Summary:
    """Stage 1: trains an aux net by distilling the ancestor; writes `out/learngene.pt`, with EMA also learngene_ema.pt."""
    backbone = plugin_manager.get_backbone(config.backbone.name)
    basis = plugin_manager.get_basis(config.basis)
    depth = complete_depth(parse_depths(config.aux.depth)[0], backbone.usual_depth, backbone.name)
    training: dict[str, Any] = {"drop_rate": config.aux.drop_rate, "drop_path_rate": config.aux.drop_path}
    with setting(config, world, watch, allow_changed) as shared:
        metadata = aux_metadata(config, depth, len(shared.data.classes), shared.data.classes)
        check_image_size(backbone, metadata)
        for stage in too_shallow(basis, depth, backbone.stages):
            watch.say(f"{stage}: more blocks than that start from a learngene that is trained in part")

        def make() -> tuple[nn.Module, Objective]:
            model = new_aux_net(backbone, basis, metadata, **training)
            teacher = load_teacher(config.teacher, config.data.input, shared.data.classes)
            for note in teacher.notes:
                watch.say(note)
            teacher.network.to(world.device)
            return model, distill_from(teacher.logits, config.aux.distillation)

        def finish(state: State) -> Mapping[str, Any]:
            facts = provenance(
                data=config.data.path, teacher=config.teacher.model, seed=config.seed, **scores_of(state.history)
            )
            files = {"learngene.pt": state.model} | ({"learngene_ema.pt": state.ema.module} if state.ema else {})
            for name, model in files.items():
                assert isinstance(model, AuxNet)
                gene = model.learngene()
                write_learngene(replace(gene, metadata=replace(metadata, provenance=facts)), out / name)
            stored = sum(tensor.numel() for tensor in state.model.parameters())
            return {"kind": "aux", "depth": format_depth(depth), "learngene_parameters": stored, "file": "learngene.pt"}

        inputs = {"command": "train-aux", "depth": format_depth(depth), "teacher": _teacher_identity(config)}
        inputs["distillation"] = config.aux.distillation.model_dump(mode="json")
        return train_in(out, shared, config.aux, inputs, make, finish)


def train_descendants(
    config: Config,
    learngene_file: Path,
    depths: Sequence[Depth],
    out: Path,
    world: World,
    watch: Watch,
    allow_changed: Sequence[str] = (),
    *,
    scratch: bool = False,
) -> Summary:
    """Stage 2: one descendant for each depth, in `out/depth-NN`, from the expanded learngene or, if `scratch`, without it.

    Raises ConfigError where preset and learngene speak of different networks.
    """
    learngene = read_learngene(learngene_file, plugin_manager.bases())
    check_fits(config, learngene)
    source = {"file": learngene_file.name, "sha256": file_hash(learngene_file)}
    pixels, wanted = learngene.metadata.input.image_size, config.data.image_size
    with setting(config, world, watch, allow_changed) as shared:
        if pixels != wanted:
            watch.say(f"image size {wanted}, but the learngene's is {pixels}: timm resamples the position embedding")
            learngene = at_image_size(learngene, wanted)
        fresh_head = False
        if not scratch:
            head = head_for_data(learngene, shared.data.classes, str(learngene_file))
            for note in head.notes:
                watch.say(note)
            learngene, fresh_head = head.learngene, head.fresh
        results = [
            _train_descendant(shared, learngene, source, depth, out, scratch=scratch, fresh_head=fresh_head)
            for depth in depths
        ]
    family = family_of(out, results, "scratch" if scratch else "learngene", source)
    if world.main:
        write_summary(out / "summary.json", family)
    return family


def _train_descendant(
    shared: Setting,
    learngene: Learngene,
    source: Mapping[str, str],
    depth: Depth,
    out: Path,
    *,
    scratch: bool,
    fresh_head: bool,
) -> Summary:
    config, classes = shared.config, len(shared.data.classes)
    name = format_depth(depth)
    recipe = config.descendant.recipe_at(name)
    init = "scratch" if scratch else "learngene"
    training = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
    folder = out / descendant_folder(depth)
    shared.watch.say(f"depth {name} from {init}")

    def make() -> tuple[nn.Module, Objective]:
        if not scratch:
            return expanded_model(learngene, depth, classes, fresh_head=fresh_head, **training), label_loss
        backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
        return build_model(
            backbone, learngene.metadata.options, full_depth(learngene, depth), classes, **training
        ), label_loss

    def finish(state: State) -> Mapping[str, Any]:
        facts = provenance(init=init, data=config.data.path, seed=config.seed, **scores_of(state.history))
        card = descendant_card(learngene, depth, classes, shared.data.classes, config.data.crop_pct, training=facts)
        write_model(folder / "model.safetensors", state.model.state_dict(), card)
        if state.ema is not None:
            write_model(folder / "model_ema.safetensors", state.ema.module.state_dict(), card)
        return {
            "kind": "descendant",
            "depth": name,
            "init": init,
            "parameters": _count(state.model),
            "file": "model.safetensors",
        }

    inputs = {"command": "train-des", "depth": name, "init": init, "learngene": dict(source)}
    return train_in(folder, shared, recipe, inputs, make, finish, evaluate_first=True)


def _teacher_identity(config: Config) -> dict[str, Any]:
    """The teacher by what it is: a file by its content, so that a moved one is the same and a new one isn't."""
    section = config.teacher.model_dump(mode="json", exclude={"recipe", "weights"})
    weights = config.teacher.weights
    if not weights and config.teacher.recipe is not None:
        raise ConfigError(
            "this preset trains its own teacher: run `tleg train-teacher` first, then give --teacher FILE"
        )
    if weights:
        path = Path(weights)
        if not path.is_file():
            raise ConfigError(f"no teacher at {weights}; train one with `tleg train-teacher`, or give --teacher FILE")
        section["sha256"] = file_hash(path)
    return section


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
