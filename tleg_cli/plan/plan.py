"""`tleg plan`: what the two stages would do, counted from the config and from listings. Nothing is trained, fetched or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tleg_cli.config import Config
from tleg_cli.errors import DataError
from tleg_cli.learngene.depths import Depth
from tleg_cli.models.published import fetched_already
from tleg_cli.plan.count import IMAGENET, Counted
from tleg_cli.plan.document import BetonSizes, DataPlan, DiskPlan, FamilyPlan, Plan, TrainingPlan
from tleg_cli.plan.files import find_data, unknown_sizes
from tleg_cli.plan.networks import CHECKPOINTS, Setup, aux_plan, descendant_plan, teacher_plan
from tleg_cli.plan.problems import find_problems
from tleg_cli.training.task import resolve

SCRATCH_EPOCHS = 100  # for one network from scratch, as TLEG's paper counts


def make_plan(
    config: Config,
    depths: Sequence[Depth],
    *,
    processes: int,
    learngene: Path | None = None,
    images: int | None = None,
    classes: int | None = None,
    scratch_epochs: int = SCRATCH_EPOCHS,
) -> Plan:
    """Plain values: data, teacher, aux net, descendants, the family's sums, the disk, what is missing and what can't work.

    processes: over all nodes. images, classes: instead of what is found. Raises ConfigError and DataError as training
    would, if nothing can be counted.
    """
    missing: list[str] = []
    data, counted = _data(config, images, classes, missing)
    setup = Setup(resolve(config), counted, processes)
    missing += _missing_files(config, learngene)
    teacher = teacher_plan(setup) if config.aux.distillation.alpha else None
    aux = aux_plan(setup, teacher)
    descendants = [descendant_plan(setup, depth) for depth in depths]
    known = classes if counted.kind == "assumed" else counted.classes
    return {
        "processes": processes,
        "data": data,
        "teacher": teacher,
        "aux": aux,
        "descendants": descendants,
        "family": family_sums(aux, descendants, scratch_epochs),
        "disk": _disk([one for one in (teacher, aux, *descendants) if one is not None]),
        "missing": missing,
        "problems": find_problems(setup, depths, learngene, known),
    }


def _disk(parts: Sequence[TrainingPlan]) -> DiskPlan:
    """Of all trainings of the plan together; a teacher that is trained already writes nothing."""
    return {
        "trainings": sum("steps" in one for one in parts),
        "results_bytes": sum(one.get("file_bytes", 0) for one in parts),
        "checkpoints_bytes": sum(one.get("checkpoint_bytes", 0) for one in parts),
        "checkpoints_kept_of_each": CHECKPOINTS,
    }


def _data(config: Config, images: int | None, classes: int | None, missing: list[str]) -> tuple[DataPlan, Counted]:
    """What the data holds. If it is not available, ImageNet-1k's size is assumed, and `counted_as` says so."""
    betons: BetonSizes
    try:
        if config.data.path is None:
            raise DataError("the data: give --data DATA")
        found, betons = find_data(config.data.path)
    except DataError as error:
        missing.append(str(error))
        found, betons = IMAGENET, unknown_sizes()
    given = {"images": images, "classes": classes}
    assumed = [name for name, value in given.items() if value is None] if found.kind == "assumed" else []
    counted = Counted(
        found.kind,
        classes or found.classes,
        images or found.train,
        found.val if images is None else max(1, images // 25),
        found.class_names if classes in (None, found.classes) else None,
    )
    return {
        "path": config.data.path,
        "kind": counted.kind,
        "classes": counted.classes,
        "train": counted.train,
        "val": counted.val,
        "counted_as": _counted_as(assumed, [name for name, value in given.items() if value is not None]),
        "betons": betons,
    }, counted


def _counted_as(assumed: Sequence[str], given: Sequence[str]) -> str:
    """Where the counts come from, as a clause."""
    clauses = [f"ImageNet-1k's number of {name} is assumed" for name in assumed]
    if len(assumed) == 2:
        clauses = ["ImageNet-1k's size is assumed"]
    clauses += [f"{name} as given by --{name}" for name in given]
    return "; ".join(clauses) or "counted"


def _missing_files(config: Config, learngene: Path | None) -> list[str]:
    section = config.teacher
    lines = []
    if config.aux.distillation.alpha == 0:
        pass  # labels only
    elif section.weights and not Path(section.weights).is_file():
        lines.append(f"no teacher at {section.weights}")
    elif not section.weights and section.recipe is not None:
        lines.append("the teacher: run `tleg train-teacher`, then give --teacher FILE")
    elif not section.weights and not fetched_already(section.model):
        lines.append(f"the weights of {section.model}: stage 1 downloads them, or give --teacher FILE")
    if learngene is not None and not learngene.is_file():
        lines.append(f"no learngene at {learngene}; run `tleg train-aux` first")
    return lines


def family_sums(aux: TrainingPlan, descendants: Sequence[TrainingPlan], scratch_epochs: int) -> FamilyPlan:
    """The family against each network trained from scratch for `scratch_epochs`, with the same images in each epoch.

    TLEG's abstract states ~2x, ~19x and ~5x for its own depths; this is the same arithmetic for the requested depths.
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
