"""One training in one run folder: what teacher, aux net and descendants have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tleg_cli.augment.pipeline import make_augment
from tleg_cli.config import Config, Recipe
from tleg_cli.config_file import dump_yaml
from tleg_cli.data.batches import Loader
from tleg_cli.data.open import DataSummary, describe, open_eval_loader, open_train_loader
from tleg_cli.files import file_hash, write_text
from tleg_cli.training.distributed import World, from_main, wait_for_all
from tleg_cli.training.evaluate import has_units_for
from tleg_cli.training.loop import Job, Record, State, Watch, fit
from tleg_cli.training.losses import Objective
from tleg_cli.training.optim import check_optimizer, plan_training
from tleg_cli.training.run_folder import RunFolder, check_run, open_run, read_summary, write_summary

Summary = dict[str, Any]
_NO_RESULT = {"checkpoint_every", "on_nan"}  # may change from one start to the next: the weights don't follow from them


@dataclass(frozen=True)
class Setting:
    """What the trainings of one command share: config, data, processes, who looks on, and loaders by batch size."""

    config: Config
    data: DataSummary
    world: World
    watch: Watch
    allow_changed: Sequence[str]
    closing: ExitStack
    loaders: dict[int, tuple[Loader, Loader]] = field(default_factory=dict)

    def open_loaders(self, batch_size: int) -> tuple[Loader, Loader]:
        """Train and validation loader; opened once, since FFCV compiles each for seconds."""
        if batch_size not in self.loaders:
            config, rank, world = self.config, self.world.rank, self.world.size
            train = open_train_loader(
                config.data, config.augmentation, batch_size=batch_size, seed=config.seed, rank=rank, world=world
            )
            self.closing.callback(train.close)
            val = open_eval_loader(config.data, batch_size=batch_size, rank=rank, world=world)
            self.closing.callback(val.close)
            self.loaders[batch_size] = train, val
        return self.loaders[batch_size]


@contextmanager
def setting(config: Config, world: World, watch: Watch, allow_changed: Sequence[str] = ()) -> Iterator[Setting]:
    """A Setting; its loaders are closed when the block ends."""
    with ExitStack() as stack:
        yield Setting(config, describe(config.data), world, watch, allow_changed, stack)


def train_in(
    out: Path,
    shared: Setting,
    recipe: Recipe,
    inputs: Mapping[str, Any],
    make: Callable[[], tuple[nn.Module, Objective]],
    finish: Callable[[State], Mapping[str, Any]],
    *,
    evaluate_first: bool = False,
) -> Summary:
    """Trains in the run folder `out`, or carries on there, or returns the summary of a run that is finished.

    inputs: plain values beside the config that decide the result. make: the seeded, fresh network and its objective.
    finish: called on rank 0 to write the result; returns what the summary says of it.
    """
    config, world = shared.config, shared.world
    run, identity = RunFolder(out), _identity(config, recipe, inputs, world)
    check_optimizer(recipe)
    if world.main:
        check_run(out, identity, shared.allow_changed)
    summary: Summary | None = from_main(read_summary(run.summary) if world.main else None, world)
    if summary is not None:
        shared.watch.say(f"{out} is finished already")
        return summary
    if world.device.type == "cpu" and not has_units_for(recipe.precision):
        shared.watch.say(
            f"precision {recipe.precision}: this processor has no units for it, and may take many times as long as for fp32"
        )
    began = time.perf_counter()
    job = _job(shared, recipe, make, evaluate_first=evaluate_first)
    plan = plan_training(recipe, job.train.batches, world.size)
    if world.main:  # not before: what is refused leaves no run folder
        open_run(out, identity, dump_yaml(config), shared.allow_changed)
        write_text(run.plan, json.dumps(asdict(plan) | {"steps": plan.steps}, indent=1) + "\n")
    state = fit(job, run, world, shared.watch)
    if world.main:
        written = finish(state)
        facts = {
            **written,
            "sha256": _hashes(out, str(written["file"])),
            **_scores(state.history),
            "seconds": round(time.perf_counter() - began, 2),
            "plan": asdict(plan) | {"steps": plan.steps},
        }
        write_summary(run.summary, facts)
    wait_for_all(world)
    return from_main(read_summary(run.summary) if world.main else None, world)


def _job(
    shared: Setting, recipe: Recipe, make: Callable[[], tuple[nn.Module, Objective]], *, evaluate_first: bool
) -> Job:
    """Network, loaders and augmentation. Raises whatever makes a training impossible; nothing is written."""
    config = shared.config
    torch.manual_seed(config.seed)
    model, objective = make()
    train, val = shared.open_loaders(recipe.batch_size)
    mean, std = config.data.mean, config.data.std
    classes = len(shared.data.classes)
    augment = make_augment(config.augmentation, mean=mean, std=std, classes=classes, smoothing=recipe.smoothing)
    return Job(
        model.to(shared.world.device), objective, recipe, train, val, augment, mean, std, config.seed, evaluate_first
    )


def _identity(config: Config, recipe: Recipe, inputs: Mapping[str, Any], world: World) -> dict[str, Any]:
    """What decides the result. Loader workers don't: every random number is a function of seed and position."""
    return {
        **inputs,
        "backbone": config.backbone.model_dump(mode="json"),
        "basis": config.basis,
        "data": config.data.model_dump(mode="json", exclude={"workers"}),
        "augmentation": config.augmentation.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json", include=set(Recipe.model_fields) - _NO_RESULT),
        "seed": config.seed,
        "processes": world.size,
        "device": world.device.type,
    }


def _hashes(out: Path, file: str) -> dict[str, str]:
    """Of the result and, where there is one, of its average over the steps; `tleg verify` compares them."""
    path = out / file
    return {one.name: file_hash(one) for one in (path, path.with_stem(f"{path.stem}_ema")) if one.exists()}


def _scores(history: Sequence[Record]) -> Summary:
    """Final scores, and top1 after each epoch; zero_epoch_top1 where the network was scored before its first step."""
    trained = [record for record in history if record["step"]]
    scores: Summary = {"top1": [record["top1"] for record in trained]}
    if len(trained) < len(history):
        scores["zero_epoch_top1"] = history[0]["top1"]
    if history and "ema_top1" in history[-1]:
        scores["ema_top1"] = [record.get("ema_top1") for record in trained]
    scores["final_top1"] = history[-1]["top1"] if history else None
    return scores
