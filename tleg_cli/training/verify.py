"""Is a run folder whole? Config, record, metrics, every checkpoint's hashes, and results that load with finite numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tleg_cli import plugin_manager
from tleg_cli.config_file import load_config
from tleg_cli.errors import FileFormatError, TlegError
from tleg_cli.files import file_hash
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.model_file import network_of, read_card, read_weights
from tleg_cli.training.checkpoint import STATE, check_checkpoint
from tleg_cli.training.health import bad_files
from tleg_cli.training.run_folder import is_running

WHOLE, BROKEN, NOTE = "whole", "broken", "note"


@dataclass(frozen=True)
class Finding:
    """One part of a run folder. state: whole, broken, or note for what is worth knowing and no damage."""

    part: str
    state: str
    what: str


def verify_run(path: Path) -> list[Finding]:
    """Every part of a run, or of a family and the runs in it. Raises FileFormatError for a folder that is neither."""
    members = sorted(folder for folder in path.glob("depth-*") if folder.is_dir())
    own = (path / "run.json").exists() or (path / "checkpoints").exists()
    if not own and not members:
        raise FileFormatError(f"{path} is no run folder: neither run.json nor depth-* is in it")
    found = list(_run(path)) if own else list(_family(path, members))
    for folder in members:
        found += [
            Finding(f"{folder.name}/{finding.part}", finding.state, finding.what) for finding in verify_run(folder)
        ]
    return found


def broken(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are damage."""
    return [finding for finding in findings if finding.state == BROKEN]


def _run(path: Path) -> Iterator[Finding]:
    if is_running(path):
        yield Finding(".lock", NOTE, "a run is writing here now")
    yield _checked("config.yaml", lambda: f"config of {load_config(str(path / 'config.yaml')).backbone.name}")
    yield _checked("run.json", lambda: f"{_table(path / 'run.json').get('command')}")
    yield from _metrics(path)
    yield from _checkpoints(path / "checkpoints")
    yield from _results(path)
    for file in bad_files(path):
        yield Finding(file.name, NOTE, "a loss or gradient was not finite in this step")


def _family(path: Path, members: Sequence[Path]) -> Iterator[Finding]:
    def described() -> str:
        listed = _table(path / "summary.json")["descendants"]
        if len(listed) > len(members):
            raise FileFormatError(f"it lists {len(listed)} descendants, but {len(members)} are here")
        return f"{len(listed)} descendants"

    if (path / "summary.json").exists():
        yield _checked("summary.json", described)
    else:
        yield Finding("summary.json", NOTE, "not finished: the same command carries on")


def _checked(part: str, look: Callable[[], str]) -> Finding:
    """What `look` says of a part, or why it couldn't."""
    try:
        return Finding(part, WHOLE, look())
    except (TlegError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Finding(part, BROKEN, " ".join(str(error).split())[:300])


def _table(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise FileFormatError("no table of values")
    return content


def _metrics(path: Path) -> Iterator[Finding]:
    """A line for each epoch, in order; none is missing in the middle."""
    file = path / "metrics.jsonl"
    if not file.exists():
        yield Finding(file.name, NOTE, "no epoch is finished")
        return

    def epochs() -> str:
        numbers = [int(json.loads(line)["epoch"]) for line in file.read_text(encoding="utf-8").splitlines()]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))) if numbers else False:
            raise FileFormatError(f"epochs {numbers} are not in order")
        return f"epochs up to {numbers[-1]}" if numbers else "no epoch yet"

    yield _checked(file.name, epochs)


def _checkpoints(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.glob("step-*")):
        problem = check_checkpoint(path)
        if problem is None:
            yield _checked(f"checkpoints/{path.name}", lambda path=path: _tensors(path))  # type: ignore[misc]
        else:
            yield Finding(f"checkpoints/{path.name}", BROKEN, problem)
    for path in sorted(folder.glob(".step-*.tmp")):
        yield Finding(
            f"checkpoints/{path.name}", NOTE, "left by a run that was killed while it saved; the next removes it"
        )


def _tensors(path: Path) -> str:
    step = _table(path / STATE)["step"]
    for file in sorted(path.glob("*.safetensors")):
        read_weights(file)
    return f"step {step}"


def _results(path: Path) -> Iterator[Finding]:
    """What summary.json names: its hash, and whether it loads. Before there is one, the run isn't finished."""
    if not (path / "summary.json").exists():
        yield Finding("summary.json", NOTE, "not finished: the same command carries on")
        return
    summary: dict[str, Any] = {}

    def described() -> str:
        summary.update(_table(path / "summary.json"))
        return f"{summary['kind']}, file {summary['file']}"

    yield _checked("summary.json", described)
    hashes = summary.get("sha256")
    named = hashes if isinstance(hashes, Mapping) else {str(summary.get("file")): None} if "file" in summary else {}
    for name, expected in named.items():
        yield _checked(str(name), lambda name=name, expected=expected: _result(path / Path(name).name, expected))  # type: ignore[misc]


def _result(file: Path, expected: str | None) -> str:
    """Raises FileFormatError for a file that has changed, doesn't load, or holds numbers that are not finite."""
    card = read_card(file) if file.suffix == ".safetensors" and file.name != "learngene.safetensors" else None
    if card is not None:
        weights = read_weights(file)
        network_of(card, weights, str(file))
        what = f"{card.kind} {card.timm.name}"
    else:
        gene = read_learngene(file, plugin_manager.bases())
        weights = {**gene.theta, **gene.shared}
        what = f"learngene of {gene.metadata.backbone}"
    bad = [name for name, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise FileFormatError(f"{len(bad)} weights are not finite: {', '.join(bad[:3])}")
    if expected is not None and file_hash(file) != expected:
        raise FileFormatError(f"{file} has changed since it was written")
    return what
