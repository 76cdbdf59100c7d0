"""What one any-depth training is worth: finished runs of stage 1 become one comparison, if they belong together.

Compared are the learngene's networks with no further training, those of a learngene trained as TLEG was published, and networks
that were trained separately; with what each cost. `tleg compare` shows it. `tleg lab` trains what it compares, at equal compute; this
takes runs that are there, at whatever compute, and scores them at depths that no network was trained for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from tleg_cli import plugin_manager
from tleg_cli.config_file import load_config
from tleg_cli.errors import ConfigError
from tleg_cli.inspect.finished_run import FinishedRun, brief, open_run_of
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.file import read_learngene
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate_file import Evaluation, top1_by_depth
from tleg_cli.training.task import resolve
from tleg_cli.training.train_aux import RESULT

# what all runs must share, in run.json; recipes, bases, seeds and the number of processes may differ
_SHARED = {
    "backbone": "backbone",
    "data.image_size": "image size",
    "data.crop_pct": "crop_pct",
    "classes": "classes",
    "images.train": "training images",
    "images.val": "validation images",
    "augmentation": "augmentation",
    "teacher.sha256": "teacher",
    "distillation": "distillation loss",
}


class ComparedDepth(TypedDict):
    """One depth. Scores are top-1 in percent, None if no such network was trained."""

    depth: int | str
    untrained_top1: float
    tleg_untrained_top1: float | None
    separate_top1: float | None
    separate_epochs: int | None


class ComparedAux(TypedDict):
    """The learngene that is compared. top1: at the depth where its residual step is 1."""

    depths: str
    top1: float | None


class Cost(TypedDict):
    """Of a training, or several together. block_images: images times blocks of the student, forward and backward."""

    networks: int
    epochs: str  # of each: 30, or 20 to 40
    block_images: float
    seconds: float


class Comparison(TypedDict):
    """The document of `tleg compare --json`. seconds: of all trainings together, unless the command says otherwise."""

    aux: ComparedAux
    seconds: float
    learngene_parameters: int
    depths: list[ComparedDepth]
    costs: dict[str, Cost]  # aux, and tleg and separate if they were given


def compare_runs(
    aux: Path,
    tleg: Path | None,
    separate: Sequence[Path],
    depths: Sequence[Depth],
    data: str | None,
    world: World,
    say: Callable[[str], None],
) -> Comparison:
    """Scores both learngenes at every depth with no further training; separate networks have their scores already.

    data: None for that of the aux run. Raises FileFormatError for a folder without a readable finished run, ConfigError for runs
    that don't belong together.
    """
    ours = open_run_of(aux, "--aux", "aux")
    theirs = None if tleg is None else open_run_of(tleg, "--tleg", "aux")
    alone = [open_run_of(folder, "--separate", "aux") for folder in separate]
    for other in (*([] if theirs is None else [theirs]), *alone):
        _check_same_setting(ours, other)
    if theirs is not None:
        _check_published(theirs)
    by_depth = _by_depth(alone)
    on = data or str(load_config(str(aux / "config.yaml")).data.path)
    names = [format_depth(depth) for depth in depths]
    scores = _scores(aux, names, on, world, say)
    published = {} if tleg is None else _scores(tleg, names, on, world, say)
    costs = {"aux": _cost([ours])}
    if theirs is not None:
        costs["tleg"] = _cost([theirs])
    if alone:
        costs["separate"] = _cost(alone)
    return {
        "aux": {
            "depths": str(ours.summary.get("depths", ours.depth(ours.summary))),
            "top1": ours.score(ours.summary, "final_top1"),
        },
        "seconds": round(sum(cost["seconds"] for cost in costs.values()), 1),
        "learngene_parameters": ours.count(ours.summary, "learngene_parameters"),
        "depths": [_compared(name, scores, published, by_depth.get(name)) for name in names],
        "costs": costs,
    }


def _compared(
    name: str, scores: Mapping[str, float], published: Mapping[str, float], alone: FinishedRun | None
) -> ComparedDepth:
    return {
        "depth": int(name) if name.isdigit() else name,
        "untrained_top1": scores[name],
        "tleg_untrained_top1": published.get(name),
        "separate_top1": None if alone is None else alone.score(alone.summary, "final_top1"),
        "separate_epochs": None if alone is None else alone.plan("epochs"),
    }


def _scores(
    folder: Path, depths: Sequence[str], data: str, world: World, say: Callable[[str], None]
) -> dict[str, float]:
    """Top-1 of the folder's learngene at each depth, as its file says it is to be read."""
    found = top1_by_depth(Evaluation(folder / RESULT, data, ",".join(depths), workers=0), world, say)
    return {depth: round(score, 2) for depth, score in found.items()}


def _by_depth(alone: Sequence[FinishedRun]) -> dict[str, FinishedRun]:
    """Each separate network by its depth. Raises ConfigError for a run whose blocks share weights, and for a depth given twice."""
    found: dict[str, FinishedRun] = {}
    for run in alone:
        depth = run.depth(run.summary)
        learngene = read_learngene(run.folder / RESULT, plugin_manager.bases())
        if str(run.summary.get("depths", depth)) != depth or set(learngene.metadata.depth) != {learngene.basis.rank}:
            raise ConfigError(
                f"--separate {run.folder} is not one network with weights of its own in every block; train it with "
                f"--set aux.depth={depth} --set basis=piecewise:{depth}"
            )
        if depth in found:
            raise ConfigError(
                f"--separate {run.folder} and {found[depth].folder} both have depth {depth}; give one of them"
            )
        found[depth] = run
    return found


def _check_published(run: FinishedRun) -> None:
    learngene = read_learngene(run.folder / RESULT, plugin_manager.bases())
    depth = run.depth(run.summary)
    if (
        str(run.summary.get("depths", depth)) != depth
        or learngene.expansion != PUBLISHED
        or learngene.basis.name != "linear"
    ):
        raise ConfigError(
            f"--tleg {run.folder} was not trained as TLEG was published: one depth, basis linear, expansion tleg without step"
        )


def _cost(runs: Sequence[FinishedRun]) -> Cost:
    total = 0.0
    for run in runs:
        config = load_config(str(run.folder / "config.yaml"))
        task = resolve(config)
        blocks = task.draw.mean([sum(depth) for depth in task.draw.depths]) if task.draw else sum(task.depth)
        total += run.plan("epochs") * run.plan("images_per_epoch") * blocks
    seconds = sum(run.score(run.summary, "seconds") or 0.0 for run in runs)
    return {
        "networks": len(runs),
        "epochs": _range([run.plan("epochs") for run in runs]),
        "block_images": total,
        "seconds": round(seconds, 1),
    }


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def check_output(out: Path, runs: Sequence[Path]) -> None:
    """Raises ConfigError if `out` is a run's folder: its summary.json would be replaced."""
    taken = (out / "run.json").exists() or any(out.resolve() == run.resolve() for run in runs)
    if taken:
        raise ConfigError(
            f"--out {out} is the folder of a run, whose summary.json would be replaced; give another --out"
        )


def _check_same_setting(ours: FinishedRun, other: FinishedRun) -> None:
    """Both must be networks of one kind, trained on the same images with the same teacher."""
    one, two = ours.record, other.record
    for key, what in _SHARED.items():
        mine, theirs = _at(one, key), _at(two, key)
        if mine != theirs:
            raise ConfigError(
                f"{other.folder} has another {what} ({brief(theirs)}) than {ours.folder} ({brief(mine)}); compare runs on the "
                "same data with the same teacher and augmentation"
            )


def _at(record: Mapping[str, Any], dotted: str) -> Any:
    value: Any = record
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
