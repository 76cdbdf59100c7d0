"""What a learngene saves: three finished runs become one comparison, if they belong together. `tleg compare` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from tleg_cli.errors import ConfigError
from tleg_cli.files import file_hash
from tleg_cli.inspect.finished_run import FinishedRun, brief, open_family, open_run_of, read_object

# what the same depth must share in both families, in run.json; recipes, seeds and the number of processes may differ
_SHARED = {
    "backbone": "backbone",
    "data.image_size": "image size",
    "data.crop_pct": "crop_pct",
    "classes": "classes",
    "images.train.images": "number of training images",
    "images.val.images": "number of validation images",
}


class ComparedDescendant(TypedDict):
    """One depth. Scores are top-1 in percent, None if they were not finite numbers; the lists have one for each epoch."""

    depth: int | str
    parameters: int
    zero_epoch_top1: float | None
    top1: list[float | None]
    scratch_top1: list[float | None]


class ComparedAux(TypedDict):
    """The aux net that the learngene was trained in."""

    depth: int | str
    top1: float | None


class Comparison(TypedDict):
    """The document of `tleg compare --json`. seconds: of all trainings together."""

    aux: ComparedAux
    seconds: float
    descendants: list[ComparedDescendant]


def compare_runs(aux: Path, family: Path, scratch: Path) -> Comparison:
    """Compares descendants of a learngene with the same networks from scratch.

    Raises FileFormatError for a folder that does not hold a readable finished run, ConfigError for runs of another kind
    than their options ask for and for runs that do not belong together.
    """
    _refuse_swapped(family, scratch)
    gene = open_run_of(aux, "--aux", "aux")
    grown, alone = open_family(family, "--family", "learngene"), open_family(scratch, "--scratch", "scratch")
    _check_learngene(gene, grown)
    ours, theirs = grown.by_depth(), alone.by_depth()
    if set(ours) != set(theirs):
        raise ConfigError(
            f"the families have different depths: {', '.join(ours)} in {family}, {', '.join(theirs)} in {scratch}; "
            "train the missing ones with `tleg train-des --depth`"
        )
    for depth in ours:
        _check_same_network(grown, alone, depth)
    times = [gene.score(gene.summary, "seconds")]
    times += [run.score(one, "seconds") for run in (grown, alone) for one in run.by_depth().values()]
    return {
        "aux": {"depth": _number(gene.depth(gene.summary)), "top1": gene.score(gene.summary, "final_top1")},
        "seconds": round(sum(time or 0.0 for time in times), 1),
        "descendants": [
            {
                "depth": _number(depth),
                "parameters": grown.parameters(one),
                "zero_epoch_top1": grown.score(one, "zero_epoch_top1"),
                "top1": grown.scores(one, "top1"),
                "scratch_top1": alone.scores(theirs[depth], "top1"),
            }
            for depth, one in ours.items()
        ],
    }


def catches_up(one: ComparedDescendant) -> int | None:
    """The epoch after which the network from scratch is as good as the descendant was after one; None if never."""
    first = one["top1"][0] if one["top1"] else None
    if first is None:
        return None
    return next(
        (epoch for epoch, top1 in enumerate(one["scratch_top1"], 1) if top1 is not None and top1 >= first), None
    )


def check_output(out: Path, runs: Sequence[Path]) -> None:
    """Raises ConfigError if `out` is a run's folder: its summary.json would be replaced."""
    taken = (out / "run.json").exists() or any(out.resolve() == run.resolve() for run in runs)
    if taken:
        raise ConfigError(
            f"--out {out} is the folder of a run, whose summary.json would be replaced; give another --out"
        )


def _number(depth: str) -> int | str:
    return int(depth) if depth.isdigit() else depth


def _refuse_swapped(family: Path, scratch: Path) -> None:
    inits = [read_object(folder / "summary.json", folder).get("init") for folder in (family, scratch)]
    if inits == ["scratch", "learngene"]:
        raise ConfigError(
            f"--family {family} was trained from scratch and --scratch {scratch} from a learngene; swap the two"
        )


def _check_learngene(gene: FinishedRun, grown: FinishedRun) -> None:
    """The family must come from a learngene that the aux run wrote: the trained one or its average."""
    written = gene.summary.get("sha256")
    # runs of older versions did not record the hashes
    hashes = list(written.values() if isinstance(written, Mapping) else map(file_hash, gene.folder.glob("*.pt")))
    for depth, record in grown.records.items():
        used = _at(record, "learngene.sha256")
        if used is not None and hashes and used not in hashes:
            raise ConfigError(
                f"depth {depth} of {grown.folder} was trained from another learngene than the one in {gene.folder}; "
                "give the --aux run that it comes from"
            )


def _check_same_network(grown: FinishedRun, alone: FinishedRun, depth: str) -> None:
    """Both must be the same network, trained on the same images."""
    ours, theirs = grown.records.get(depth, {}), alone.records.get(depth, {})
    pairs = [(what, _at(ours, key), _at(theirs, key)) for key, what in _SHARED.items()]
    one, other = (run.parameters(run.by_depth()[depth]) for run in (grown, alone))
    pairs.append(("number of parameters", one, other))
    if _at(ours, "images") is None or _at(theirs, "images") is None:  # runs of older versions
        pairs.append(("data", _resolved(_at(ours, "data.path")), _resolved(_at(theirs, "data.path"))))
    for what, one, other in pairs:
        if one is not None and other is not None and one != other:
            raise ConfigError(
                f"depth {depth} has another {what} in {grown.folder} ({brief(one)}) than in {alone.folder} "
                f"({brief(other)}); compare runs of the same network on the same data"
            )


def _resolved(path: Any) -> str | None:
    return str(Path(path).resolve()) if isinstance(path, str) else None


def _at(record: Mapping[str, Any], dotted: str) -> Any:
    value: Any = record
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
