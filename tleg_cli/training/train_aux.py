"""Stage 1, `tleg train-aux`: the learngene is trained inside an aux net that imitates a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.file import write_learngene
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.models.align_network import ALIGNED
from tleg_cli.models.aux_net import AuxNet, aux_net_of, new_aux_net, too_shallow
from tleg_cli.models.descendant import head_for_data
from tleg_cli.models.network_check import with_network_check
from tleg_cli.models.teacher import LoadedTeacher
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import check_recipe
from tleg_cli.training.identity import identity
from tleg_cli.training.in_place import InPlace
from tleg_cli.training.job import Data, Job, Observer, open_data
from tleg_cli.training.loop import train
from tleg_cli.training.losses import Distilled, label_loss
from tleg_cli.training.optim import budget_of
from tleg_cli.training.provenance import provenance, scores_of
from tleg_cli.training.records import Summary
from tleg_cli.training.run import open_run
from tleg_cli.training.state import State
from tleg_cli.training.task import Task, check_fits, check_task, resolve
from tleg_cli.training.teaching import scored_against, taught_by, teacher_for, teacher_identity

RESULT = "learngene.pt"


def train_aux(
    config: Config,
    out: Path,
    world: World,
    observer: Observer,
    allow_changed: Sequence[str] = (),
    start: Learngene | None = None,
    original: Learngene | None = None,
) -> Summary:
    """Distils the teacher into an aux net and writes its learngene: `out/learngene.pt`, with EMA also learngene_ema.pt.

    start: a learngene of the same task to begin with, as `tleg adopt` makes it of a trained network; its scores are then taken first.
    original: the trained network that teaches itself; None: `start` at its own depth is that network.
    """
    task, recipe = resolve(config), config.aux
    if start is not None:
        _check_start(start, task)
    check_task(task)
    _check_labels(config)
    with open_data(config, world, without_labels=start is not None) as data:
        what = identity(config, recipe, world, data.classes, **_inputs(task, start))
        with open_run(out, what, config, world, observer, allow_changed) as run:
            if run.summary is not None:
                return run.summary
            check_recipe(recipe, world, observer.say)
            for stage in too_shallow(task.basis, task.depth, task.backbone.stages):
                observer.say(f"warning: {stage}; deeper descendants also use the others, which are not trained")
            torch.manual_seed(config.seed)
            metadata = task.metadata(data.classes)
            begin = None if start is None else start_for(start, task, metadata)
            network = _network(task, metadata, begin)
            teacher = teacher_for(data, begin if original is None else in_order(original, metadata))
            for note in teacher.notes if teacher else ():
                observer.say(note)
            job = _job(task, data, teacher, observer, evaluate_first=start is not None)
            if teacher:
                job = scored_against(teacher, job, data, run, observer)
            state = train(network, job, run, observer)
            if world.main:
                _write_learngenes(state, config, out, start)
            return run.finish(
                state.history,
                kind="aux",
                depth=format_depth(task.depth),
                depths=recipe.depth,
                learngene_parameters=sum(parameter.numel() for parameter in network.parameters()),
                file=RESULT,
                **_how_it_went(state, config, observer),
            )


def _job(task: Task, data: Data, teacher: LoadedTeacher | None, observer: Observer, *, evaluate_first: bool) -> Job:
    """Stage 1 on this data. evaluate_first: also score the network before it is trained."""
    recipe = task.config.aux
    job = data.job(
        Distilled(teacher.logits, recipe.distillation) if teacher else label_loss,
        recipe,
        evaluate_first=evaluate_first,
        draw=task.draw,
        patience=recipe.patience,
        stages=task.backbone.stages,
    )
    job = taught_by(job, teacher, task.config, data.world, observer)
    return replace(job, in_place=_in_place(task, job, data.world))


def _in_place(task: Task, job: Job, world: World) -> InPlace | None:
    aux = task.config.aux
    if not aux.in_place.weight or task.draw is None:
        return None
    steps = budget_of(aux, job.train.batches, world.size).steps
    deepest = max(task.draw.depths, key=sum)
    return InPlace(aux.in_place.weight, round(aux.in_place.start * steps), deepest, aux.distillation)


def _check_labels(config: Config) -> None:
    alpha = config.aux.distillation.alpha
    if config.data.unlabelled is not None and alpha < 1:
        raise ConfigError(f"aux.distillation.alpha is {alpha:g}, but images without labels can only be trained with 1")


def _inputs(task: Task, start: Learngene | None) -> dict[str, Any]:
    """What decides the result in addition to config and data. Values that older versions don't have appear only where they are used."""
    aux = task.config.aux
    return {
        "command": "train-aux",
        "depth": format_depth(task.depth),
        "teacher": teacher_identity(task.config, start),
        "distillation": aux.distillation.model_dump(mode="json"),
        **_rule(task),
        **({"in_place": aux.in_place.model_dump(mode="json")} if aux.in_place.weight else {}),
        **({} if aux.patience is None else {"patience": aux.patience}),
        **({} if start is None else _identity_of(start)),
    }


def _identity_of(start: Learngene) -> dict[str, Any]:
    facts = start.metadata.provenance
    return {"start": facts.get("sha256"), **({ALIGNED: facts[ALIGNED]} if ALIGNED in facts else {})}


def _network(task: Task, metadata: Metadata, begin: Learngene | None) -> AuxNet:
    """Freshly initialised, or with the weights of a learngene."""
    recipe = task.config.aux
    drops: dict[str, Any] = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
    depths = task.draw.all if task.draw else ()
    if begin is not None:
        return aux_net_of(begin, depths, **drops)
    return new_aux_net(task.backbone, task.basis, metadata, task.expansion, depths, **drops)


def _how_it_went(state: State, config: Config, observer: Observer) -> dict[str, Any]:
    """What the summary says in addition of a training without labels, or one that ended early."""
    facts: dict[str, Any] = {} if config.data.unlabelled is None else {"scored": "agreement"}
    epochs = state.history[-1]["epoch"] if state.history else 0
    patience = config.aux.patience
    if patience is not None and epochs < config.aux.epochs + config.aux.cooldown_epochs:
        observer.say(
            f"ended after epoch {epochs}: mean top-1 over the depths rose by less than 0.1 points in {patience} epochs"
        )
        facts["ended_after"] = epochs
    return facts


def start_for(start: Learngene, task: Task, metadata: Metadata) -> Learngene:
    """The learngene as this task trains it, its head in the data's order. Raises ConfigError for another network or other classes."""
    _check_start(start, task)
    ordered = in_order(start, metadata)
    if task.config.data.unlabelled is not None:  # made-up class names are not recorded
        metadata = replace(metadata, class_names=start.metadata.class_names)
    return replace(ordered, metadata=metadata, expansion=task.expansion)


def _check_start(start: Learngene, task: Task) -> None:
    check_fits(task.config, start)
    if (start.basis.name, start.metadata.depth) != (task.basis.name, task.depth):
        raise ConfigError(
            f"the network is a learngene of basis {start.basis.name} and depth {format_depth(start.metadata.depth)}; the config "
            f"has basis {task.basis.name} and aux.reference_depth {format_depth(task.depth)}, which `tleg adopt` sets itself"
        )


def in_order(network: Learngene, metadata: Metadata) -> Learngene:
    """With its head in the order of the data's classes. Raises ConfigError for other classes."""
    assert metadata.class_names is not None
    head = head_for_data(network, metadata.class_names, "the network")
    if head.fresh:
        raise ConfigError(
            f"the network has {network.metadata.classes} classes, but the data has {metadata.classes}; add "
            "--fresh-head, and it is fine-tuned on this data first"
        )
    return head.learngene


def _rule(task: Task) -> dict[str, Any]:
    """What TLEG as published doesn't have; nothing for TLEG, so that its run folders stay what they were."""
    aux, rule = task.config.aux, task.config.expansion
    values: dict[str, Any] = {} if task.expansion == PUBLISHED else {"expansion": rule.model_dump(mode="json")}
    if task.draw and len(task.draw.depths) > 1:
        values["draw"] = {"depths": [format_depth(depth) for depth in task.draw.depths], "rule": aux.draw}
    return values


def _write_learngenes(state: State, config: Config, out: Path, start: Learngene | None) -> None:
    """That of the last step and, with EMA, that of the averaged weights."""
    facts = provenance(
        data=config.data.path,
        teacher=config.teacher.model,
        seed=config.seed,
        depths=config.aux.depth,
        **({} if start is None else {"adopted": dict(start.metadata.provenance)}),
        **scores_of(state.history),
    )
    networks = {RESULT: state.network} | ({"learngene_ema.pt": state.ema.module} if state.ema else {})
    for name, network in networks.items():
        assert isinstance(network, AuxNet)
        learngene = network.learngene()
        metadata = replace(learngene.metadata, provenance=facts)
        write_learngene(with_network_check(replace(learngene, metadata=metadata)), out / name)
