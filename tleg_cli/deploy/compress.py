"""`tleg compress`: a learngene in smaller files, and what its networks score then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from typing_extensions import NotRequired

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, FileFormatError, TlegError
from tleg_cli.learngene.compress import Compressed, compress, halved
from tleg_cli.learngene.depths import format_depth, parse_depths
from tleg_cli.learngene.file import SUFFIXES, read_learngene, write_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.network_check import with_network_check
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate_file import Evaluation, top1_by_depth
from tleg_cli.weights.hub import local_file


class CompressedFile(TypedDict):
    """One file. keep: the share that was asked for. kept: of the squared differences between the thetas, the share that is left.

    scores: top-1 in percent by depth.
    """

    file: str
    keep: float | None
    values: int
    bytes: int
    kept: float
    scores: NotRequired[dict[str, float]]


@dataclass(frozen=True)
class Wanted:
    """out: a file for one share or none, a folder for several. data, depth: what all files are scored on, if data is given."""

    path: Path
    out: Path
    keeps: Sequence[float]
    half: bool = False
    data: str | None = None
    depth: str | None = None
    force: bool = False


def compress_file(wanted: Wanted, world: World, say: Callable[[str], None]) -> list[CompressedFile]:
    """Writes a file for each share, and describes the learngene itself first.

    Raises ConfigError for shares that can't be, TlegError for files that are there, before anything is written.
    """
    wanted = replace(wanted, path=local_file(wanted.path))
    learngene = read_learngene(wanted.path, plugin_manager.bases())
    files = _files(wanted)
    start = halved(learngene) if wanted.half else learngene
    made = [compress(start, keep) for keep in wanted.keeps] or [Compressed(start, {}, 1.0)]

    def scored(entry: CompressedFile) -> CompressedFile:
        if wanted.data is not None:
            depths = wanted.depth or _trained(learngene)
            say(f"scoring {entry['file']} at depth {depths}")
            entry["scores"] = top1_by_depth(Evaluation(Path(entry["file"]), wanted.data, depths, workers=0), world, say)
        return entry

    values = learngene.stored or learngene.parameters()
    found = [scored(_described(wanted.path, None, values, 1.0))]  # first: data that can't be scored is refused here
    for file, keep, one in zip(files, wanted.keeps or (None,), made, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_learngene(_labelled(one.learngene, keep, half=wanted.half), file, one.low_rank)
        found.append(scored(_described(file, keep, one.learngene.stored or one.learngene.parameters(), one.kept)))
    return found


def _files(wanted: Wanted) -> list[Path]:
    suffix = wanted.path.suffix if wanted.path.suffix in SUFFIXES else SUFFIXES[0]
    if len(wanted.keeps) > 1:
        if wanted.out.suffix in SUFFIXES or wanted.out.is_file():
            raise ConfigError(f"{wanted.out} is one file, and --keep asks for {len(wanted.keeps)}; name a folder")
        files = [wanted.out / f"keep-{keep:g}{suffix}" for keep in wanted.keeps]
    else:
        files = [wanted.out]
        if wanted.out.suffix not in SUFFIXES:
            raise FileFormatError(f"{wanted.out}: a learngene is written as {' or '.join(SUFFIXES)}")
    if there := [file for file in files if file.exists() and not wanted.force]:
        raise TlegError(f"{there[0]} exists already; choose another name, or replace it with --force")
    if wanted.path.resolve() in [file.resolve() for file in files]:
        raise ConfigError(
            f"{wanted.path} would be replaced by its own compressed form, which can't be undone; choose another name"
        )
    return files


def _labelled(learngene: Learngene, keep: float | None, *, half: bool) -> Learngene:
    """With a note in its provenance; what timm's network expects is compared once, as for every new file."""
    facts = {**learngene.metadata.provenance, "compressed": {"keep": keep, "half": half}}
    return with_network_check(replace(learngene, metadata=replace(learngene.metadata, provenance=facts)))


def _described(file: Path, keep: float | None, values: int, kept: float) -> CompressedFile:
    return {"file": str(file), "keep": keep, "values": values, "bytes": file.stat().st_size, "kept": kept}


def _trained(learngene: Learngene) -> str:
    """The depths that it was trained at, if it says so."""
    depths = learngene.metadata.provenance.get("depths")
    try:
        return depths if isinstance(depths, str) and parse_depths(depths) else format_depth(learngene.metadata.depth)
    except ConfigError:
        return format_depth(learngene.metadata.depth)
