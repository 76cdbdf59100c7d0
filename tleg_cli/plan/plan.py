"""`tleg plan`: what the two stages would do, counted from the config and listings; nothing is trained, fetched or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.config import Config
from tleg_cli.errors import DataError
from tleg_cli.learngene.depths import Depth
from tleg_cli.models.teacher import fetched_already
from tleg_cli.plan.count import IMAGENET, Counted
from tleg_cli.plan.files import Betons, look_at
from tleg_cli.plan.networks import CHECKPOINTS, Setup, aux_part, descendant_part, teacher_part
from tleg_cli.plan.problems import find_problems

SCRATCH_EPOCHS = 100  # for one network from scratch, as TLEG's paper counts
_WRITTEN = {"results": "file", "checkpoints": "checkpoint"}  # sum -> what each training says


def make_plan(
    config: Config,
    depths: Sequence[Depth],
    *,
    processes: int,
    learngene: Path | None = None,
    images: int | None = None,
    classes: int | None = None,
    scratch_epochs: int = SCRATCH_EPOCHS,
) -> dict[str, Any]:
    """Plain values: data, teacher, aux net, descendants, the family's sums, the disk, what is missing and what can't work.

    processes: over all nodes. images, classes: instead of what is found. Raises ConfigError and DataError as training would,
    where that leaves nothing to count.
    """
    missing: list[str] = []
    counted, betons = _counted(config, images, classes, missing)
    setup = Setup(config, plugin_manager.get_backbone(config.backbone.name), counted, processes)
    missing += _missing_files(config, learngene)
    teacher = teacher_part(setup)
    aux = aux_part(setup, plugin_manager.get_basis(config.basis).rank, teacher)
    descendants = [descendant_part(setup, depth) for depth in depths]
    known = classes if counted.kind == "assumed" else counted.classes
    return {
        "processes": processes,
        "data": {"path": config.data.path, **asdict(counted), "betons": asdict(betons)},
        "teacher": teacher,
        "aux": aux,
        "descendants": descendants,
        "family": family_sums(aux, descendants, scratch_epochs),
        "disk": _disk([teacher, aux, *descendants]),
        "missing": missing,
        "problems": find_problems(setup, depths, learngene, known),
    }


def _disk(parts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Bytes of all trainings of the plan together; a teacher that comes trained writes nothing."""
    sums = {f"{what}_bytes": sum(one.get(f"{key}_bytes", 0) for one in parts) for what, key in _WRITTEN.items()}
    return {"trainings": sum("steps" in one for one in parts), **sums, "checkpoints_kept_of_each": CHECKPOINTS}


def _counted(config: Config, images: int | None, classes: int | None, missing: list[str]) -> tuple[Counted, Betons]:
    """What the data holds; ImageNet-1k's numbers where it isn't there, and that is said."""
    try:
        if config.data.path is None:
            raise DataError("no data: give --data PATH")
        found, betons = look_at(config.data.path)
    except DataError as error:
        missing.append(str(error))
        found, betons = IMAGENET, Betons()
    counted = Counted(
        found.kind,
        classes or found.classes,
        images or found.train,
        found.val if images is None else max(1, images // 25),
    )
    return counted, betons


def _missing_files(config: Config, learngene: Path | None) -> list[str]:
    section = config.teacher
    lines = []
    if section.weights and not Path(section.weights).is_file():
        lines.append(f"no teacher at {section.weights}")
    elif not section.weights and section.recipe is not None:
        lines.append("the teacher: `tleg train-teacher` makes it, then give --teacher FILE")
    elif not section.weights and not fetched_already(section):
        lines.append(f"the weights of {section.model}: stage 1 fetches them, or give --teacher FILE")
    if learngene is not None and not learngene.is_file():
        lines.append(f"no learngene at {learngene}: stage 1 makes it")
    return lines


def family_sums(
    aux: Mapping[str, Any], descendants: Sequence[Mapping[str, Any]], scratch_epochs: int
) -> dict[str, float]:
    """The family against each network from scratch, for `scratch_epochs`, with the same images in each epoch.

    TLEG's abstract says ~2x, ~19x and ~5x of its own depths; this is the same arithmetic on the depths that were asked for.
    """
    epochs = aux["epochs"] + sum(one["epochs"] for one in descendants)
    alone = scratch_epochs * len(descendants)
    macs = aux["training_macs"] + sum(one["training_macs"] for one in descendants)
    # images of an epoch times three passes, for each network
    alone_macs = sum(
        scratch_epochs * one["steps_per_epoch"] * one["global_batch"] * 3 * one["macs"] for one in descendants
    )
    parameters = sum(one["parameters"] for one in descendants)
    return {
        "networks": len(descendants),
        "scratch_epochs_each": scratch_epochs,
        "epochs": epochs,
        "steps": aux["steps"] + sum(one["steps"] for one in descendants),
        "scratch_epochs": alone,
        "times_fewer_epochs": alone / max(epochs, 1),
        "training_macs": macs,
        "scratch_training_macs": alone_macs,
        "times_fewer_macs": alone_macs / max(macs, 1),
        "stored_parameters": aux["parameters"],
        "parameters_of_all": parameters,
        "times_fewer_parameters": parameters / aux["parameters"],
        "pretraining_epochs": aux["epochs"],
        "times_less_pretraining": alone / max(aux["epochs"], 1),
    }
