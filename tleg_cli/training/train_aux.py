"""Stage 1, `tleg train-aux`: the learngene is trained inside an aux net that imitates a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.files import file_hash
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.file import write_learngene
from tleg_cli.models.aux_net import AuxNet, new_aux_net, too_shallow
from tleg_cli.models.teacher import load_teacher
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import check_recipe
from tleg_cli.training.identity import identity
from tleg_cli.training.job import Observer, open_data
from tleg_cli.training.loop import train
from tleg_cli.training.losses import distill_from
from tleg_cli.training.provenance import provenance, scores_of
from tleg_cli.training.records import Summary
from tleg_cli.training.run import open_run
from tleg_cli.training.state import State
from tleg_cli.training.task import Task, check_image_size, resolve
from tleg_cli.training.teacher_score import check_teacher, score_teacher

RESULT = "learngene.pt"


def train_aux(
    config: Config, out: Path, world: World, observer: Observer, allow_changed: Sequence[str] = ()
) -> Summary:
    """Distils the teacher into an aux net and writes its learngene: `out/learngene.pt`, with EMA also learngene_ema.pt."""
    task, recipe = resolve(config), config.aux
    check_image_size(task)
    inputs: dict[str, Any] = {
        "command": "train-aux",
        "depth": format_depth(task.depth),
        "teacher": _teacher_identity(config),
        "distillation": recipe.distillation.model_dump(mode="json"),
        **_rule(task),
    }
    with open_data(config, world) as data:
        what = identity(config, recipe, world, data.classes, **inputs)
        with open_run(out, what, config, world, observer, allow_changed) as run:
            if run.summary is not None:
                return run.summary
            check_recipe(recipe, world, observer.say)
            for stage in too_shallow(task.basis, task.depth, task.backbone.stages):
                observer.say(f"warning: {stage}; deeper descendants also use the others, which are not trained")
            metadata = task.metadata(data.classes)
            torch.manual_seed(config.seed)
            drops: dict[str, Any] = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
            depths = task.draw.all if task.draw else ()
            network = new_aux_net(task.backbone, task.basis, metadata, task.expansion, depths, **drops)
            teacher = load_teacher(config.teacher, config.data.input, data.classes)
            for note in teacher.notes:
                observer.say(note)
            teacher.network.to(world.device)
            job = data.job(distill_from(teacher.logits, recipe.distillation), recipe, draw=task.draw)
            if not run.has_begun():  # else its first start has scored the teacher
                scores = score_teacher(teacher, job.val, config.data.input, recipe.precision, world)
                name = config.teacher.weights or config.teacher.model
                observer.say(check_teacher(scores, len(data.classes), name, allow_bad=recipe.allow_bad_teacher))
            state = train(network, job, run, observer)
            if world.main:
                _write_learngenes(state, config, out)
            stored = sum(parameter.numel() for parameter in network.parameters())
            depth = format_depth(task.depth)
            return run.finish(
                state.history, kind="aux", depth=depth, depths=recipe.depth, learngene_parameters=stored, file=RESULT
            )


def _rule(task: Task) -> dict[str, Any]:
    """What TLEG as published doesn't have; nothing for TLEG, so that its run folders stay what they were."""
    aux, rule = task.config.aux, task.config.expansion
    values: dict[str, Any] = {} if task.expansion == PUBLISHED else {"expansion": rule.model_dump(mode="json")}
    if task.draw and len(task.draw.depths) > 1:
        values["draw"] = {"depths": [format_depth(depth) for depth in task.draw.depths], "rule": aux.draw}
    return values


def _write_learngenes(state: State, config: Config, out: Path) -> None:
    """That of the last step and, with EMA, that of the averaged weights."""
    facts = provenance(
        data=config.data.path,
        teacher=config.teacher.model,
        seed=config.seed,
        depths=config.aux.depth,
        **scores_of(state.history),
    )
    networks = {RESULT: state.network} | ({"learngene_ema.pt": state.ema.module} if state.ema else {})
    for name, network in networks.items():
        assert isinstance(network, AuxNet)
        learngene = network.learngene()
        metadata = replace(learngene.metadata, provenance=facts)
        write_learngene(replace(learngene, metadata=metadata), out / name)


def _teacher_identity(config: Config) -> dict[str, Any]:
    """The teacher by its content: a file that was moved is the same teacher, a new one under the same name isn't."""
    section = config.teacher.model_dump(mode="json", include={"model", "options", "image_size"})
    weights, class_map = config.teacher.weights, config.teacher.class_map
    if not weights and config.teacher.recipe is not None:
        raise ConfigError(
            "this preset trains its own teacher: run `tleg train-teacher` first, then give --teacher FILE. For timm's pretrained "
            f"weights of {config.teacher.model} add --set teacher.recipe=null --set teacher.options={{}}"
        )
    if config.teacher.weight_set != "auto":
        section["weight_set"] = config.teacher.weight_set
    if class_map and Path(class_map).is_file():
        section["class_map"] = file_hash(Path(class_map))
    if weights:
        path = Path(weights)
        if not path.is_file():
            raise ConfigError(f"no teacher at {weights}; train one with `tleg train-teacher`, or give --teacher FILE")
        section["sha256"] = file_hash(path)
    return section
