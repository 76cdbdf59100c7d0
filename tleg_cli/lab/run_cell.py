"""One cell of a comparison: its teacher and its source if they aren't there yet, then its own training.

They are the trainings of `tleg train-teacher` and `tleg train-aux`, with the same loop, checkpoints and records.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tleg_cli import __version__, plugin_manager
from tleg_cli.config import Config
from tleg_cli.config_file import with_settings
from tleg_cli.errors import PluginError, Preempted, TlegError, one_line
from tleg_cli.files import file_hash
from tleg_cli.lab.folder import LabFolder, Row
from tleg_cli.lab.mixture import train_mixture
from tleg_cli.lab.study import Cell, Study, Training
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.full_rank import full_rank
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.build import build_model, without_weights
from tleg_cli.models.model_file import check_shapes
from tleg_cli.training.distributed import World
from tleg_cli.training.job import Observer
from tleg_cli.training.lock import CHECKPOINTS
from tleg_cli.training.optim import Budget
from tleg_cli.training.pick_blocks import by_importance
from tleg_cli.training.records import EpochRecord, Summary
from tleg_cli.training.train_aux import RESULT, train_aux
from tleg_cli.training.train_teacher import RESULT as TEACHER
from tleg_cli.training.train_teacher import train_teacher

_INTERVAL = 30.0  # seconds between two lines of a training


@dataclass
class Quiet:
    """An Observer that shows nothing but a line every half minute, and keeps the warnings. tell: gets the lines, with `name` in front."""

    name: str = ""
    tell: Callable[[str], None] = lambda line: None
    warnings: list[str] = field(default_factory=list)
    steps: int = 0
    told: float = field(default_factory=time.monotonic)

    def start(self, budget: Budget, done: int) -> None:
        self.steps = budget.steps

    def step(self, step: int, loss: Tensor, lr: float) -> None:
        now = time.monotonic()
        if now - self.told >= _INTERVAL:
            self.told = now
            self.tell(f"{self.name}: step {step:,} of {self.steps:,}, loss {float(loss):.4f}")

    def scoring(self, done: int, batches: int) -> None: ...
    def epoch(self, record: EpochRecord) -> None: ...
    def stop(self) -> None: ...

    def say(self, text: str) -> None:
        if text.startswith("warning"):
            self.warnings.append(text)


def run_cell(
    study: Study,
    cell: Cell,
    folder: LabFolder,
    world: World,
    tell: Callable[[str], None] = lambda line: None,
    *,
    wait: bool = True,
) -> Row | None:
    """The row of a cell, which is written when it is complete. What goes wrong in it is its result; the others go on.

    tell: gets a line every half minute. wait: for another process that holds the cell; else None is returned.
    Raises Preempted if the process was asked to stop, TlegError if nothing can be written.
    """
    with folder.alone(cell.name.replace(" ", "-"), wait=wait) as held:
        if not held or (row := folder.row(cell)) is not None:
            return row if held else None
        folder.clear(cell)
        row = Row(method=cell.method.name, depth=format_depth(cell.depth), seed=cell.seed)
        row |= {"tleg": __version__, "made_by": cell.made_by}
        observer = Quiet(cell.name, tell)
        try:
            row |= _trained(study, cell, folder, world, observer)
        except Preempted:
            raise
        except Exception as error:  # a method is a third party's code
            reason = one_line(error) if isinstance(error, TlegError) else f"{type(error).__name__}: {one_line(error)}"
            row |= {"status": "failed", "error": reason}
        row["warnings"] = observer.warnings
        folder.write_row(cell, row)
        return row


def _sources(
    study: Study, cell: Cell, folder: LabFolder, world: World, observer: Observer
) -> tuple[Learngene | None, float]:
    """What all depths of a method share, trained unless it is there, and its seconds. The second source starts from the first."""
    learngene, seconds = None, 0.0
    for number, source in enumerate(cell.sources):
        config = _with_teacher(study, cell, source.config, folder, world, observer)
        out = folder.source(source.name, cell.seed)
        with folder.alone(f"source-{source.name}-{cell.seed}"):
            if learngene is not None and cell.method.ranked:
                learngene = by_importance(learngene, config, out, world, observer)
                config = config.model_copy(update={"basis": learngene.basis.name})
            done = train_aux(config, out, world, observer, start=learngene)
            seconds += done["seconds"] if source.block_images or number else 0.0  # an original is there already
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)  # its result is what the cells need
        learngene = _read(out / RESULT)
    if learngene is not None and cell.method.ranked and len(cell.sources) == 1:
        learngene = by_importance(learngene, config, out, world, observer)
    return learngene, seconds


def _trained(study: Study, cell: Cell, folder: LabFolder, world: World, observer: Observer) -> Row:
    source, seconds = _sources(study, cell, folder, world, observer)
    start, mixing_seconds = None, 0.0
    if source is not None and cell.mixing is not None:
        start, mixing_seconds = _mixed(study, cell, source, folder, world, observer)
    elif source is not None:
        start = initialised(cell, source)
    config = _with_teacher(study, cell, cell.target.config, folder, world, observer)
    run = folder.cell(cell) / "training"
    done = train_aux(config, run, world, observer, start=start)
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)  # the result is there, and a comparison has hundreds of cells
    return {
        "status": "done",
        **_scores(done, cell.target),
        "source_block_images": cell.source_block_images,
        "mixing_block_images": 0 if cell.mixing is None else cell.mixing.block_images,
        "block_images": cell.block_images,
        "epoch_block_images": _of_an_epoch(cell.target),
        "parameters": done["learngene_parameters"],
        "source_parameters": 0 if source is None else source.parameters(),
        "trained": cell.target.steps > 0,
        "source_seconds": seconds,
        "seconds": done["seconds"] + mixing_seconds,
    }


def _mixed(
    study: Study, cell: Cell, source: Learngene, folder: LabFolder, world: World, observer: Observer
) -> tuple[Learngene, float]:
    """The network with learned mixtures of the source's blocks, and the seconds that they took."""
    assert cell.mixing is not None
    assert cell.method.mixing is not None
    config = _with_teacher(study, cell, cell.mixing.config, folder, world, observer)
    out = folder.cell(cell) / "mixing"
    done = train_mixture(config, source, cell.method.mixing, cell.depth, out, world, observer)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return _read(out / RESULT), done["seconds"]


def _of_an_epoch(training: Training) -> int:
    """Block-images of an epoch of one depth."""
    return training.block_images // training.steps * training.steps_per_epoch if training.steps else 0


def _scores(done: Summary, training: Training) -> Row:
    top1 = done["final_top1"]
    if top1 is None:
        raise TlegError("its training ended without a score")
    epochs = done["top1"]
    first = epochs[0] if training.steps >= training.steps_per_epoch else None
    return {"start": done.get("zero_epoch_top1"), "epoch_1": first, "top1": top1, "epochs": epochs}


def _with_teacher(
    study: Study, cell: Cell, config: Config, folder: LabFolder, world: World, observer: Observer
) -> Config:
    """The config with a teacher: that of its preset, or trained first if the preset has a recipe for one."""
    section = study.config.teacher
    if not cell.method.teacher or section.recipe is None or section.weights is not None:
        return config
    out = folder.teacher(cell.seed)
    with folder.alone(f"teacher-{cell.seed}"):
        train_teacher(with_settings(study.config, (f"seed={cell.seed}",)), out, world, observer)
    teacher = section.model_copy(update={"weights": str(out / TEACHER)})
    return config.model_copy(update={"teacher": teacher})


def _read(file: Path) -> Learngene:
    """With the hash of its file, which tells one start from another."""
    learngene = read_learngene(file, plugin_manager.bases())
    provenance = {**learngene.metadata.provenance, "sha256": file_hash(file)}
    return replace(learngene, metadata=replace(learngene.metadata, provenance=provenance))


def initialised(cell: Cell, source: Learngene) -> Learngene:
    """The network that a method makes of its source, as a learngene of full rank. Raises PluginError for weights that don't fit."""
    grow, metadata = cell.method.grow, source.metadata
    assert grow is not None
    torch.manual_seed(cell.seed)  # for what a method leaves fresh
    with torch.no_grad():
        weights = grow(source, cell.depth)
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise PluginError(f"method {cell.method.name} returned {type(weights).__name__}, not a dict of tensors")
    backbone = plugin_manager.get_backbone(metadata.backbone)
    network = without_weights(partial(build_model, backbone, metadata.options, cell.depth, metadata.classes))
    check_shapes(network, weights, f"method {cell.method.name}")
    own = {name: value.detach().clone() for name, value in weights.items()}
    return full_rank(own, source.stages, replace(metadata, depth=cell.depth), PUBLISHED)
