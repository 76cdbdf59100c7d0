"""Checkpoints: a folder of safetensors and plain JSON, complete or not there; a manifest with hashes is written last."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tleg_cli.errors import TlegError, first_line
from tleg_cli.files import file_hash, sync, why_not_written

MANIFEST = "manifest.json"
STATE = "state.json"
KEEP = 2  # the newest ones, in addition to the best
_OWN_TEMPORARY = re.compile(r"\.step-[0-9]{8,}(\.old)?\.tmp")


@dataclass
class Checkpoint:
    """tensors: file name without suffix -> name -> tensor. state: plain values (epoch, step, history, ...)."""

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint, *, best: int | None) -> None:
    """Writes `folder/step-00000042`, then removes all but the newest KEEP and step `best`. Raises TlegError (disk)."""
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*.tmp"):  # of a run that was killed while it saved
            if _OWN_TEMPORARY.fullmatch(left.name) and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir()
        for name, tensors in checkpoint.tensors.items():
            save_file(_storable(tensors), temporary / f"{name}.safetensors")
        (temporary / STATE).write_text(json.dumps(checkpoint.state))
        _seal(temporary)
        if final.exists():  # the same step once more, or a damaged one that was passed over
            os.replace(final, folder / f".{final.name}.old.tmp")
        os.replace(temporary, final)
        sync(folder)
        shutil.rmtree(folder / f".{final.name}.old.tmp", ignore_errors=True)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = why_not_written(error)
        if reason is None:
            raise
        raise TlegError(f"can't write checkpoint {final}: {reason}; older checkpoints are untouched") from error
    _remove_old(folder, best)


def _seal(folder: Path) -> None:
    """Everything to the disk, then the manifest: a folder without a valid one is not a checkpoint."""
    hashes = {}
    for file in sorted(folder.iterdir()):
        sync(file)
        hashes[file.name] = file_hash(file)
    (folder / MANIFEST).write_text(json.dumps({"format_version": 1, "sha256": hashes}))
    sync(folder / MANIFEST)
    sync(folder)


def _remove_old(folder: Path, best: int | None) -> None:
    steps = sorted(_steps(folder))
    for step, path in steps[:-KEEP]:
        if step != best:
            shutil.rmtree(path, ignore_errors=True)


def _steps(folder: Path) -> list[tuple[int, Path]]:
    names = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return [(int(path.name.removeprefix("step-")), path) for path in names]


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest complete checkpoint, and one line on each newer one that had to be passed over."""
    passed_over: list[str] = []
    for _, path in sorted(_steps(folder), reverse=True):
        problem = check_checkpoint(path)
        if problem is None:
            try:
                return _load(path), passed_over
            except Exception as error:  # hashes fit, content doesn't: SafetensorError is a plain Exception
                problem = first_line(error)
        passed_over.append(f"{path} is damaged ({problem})")
    return None, passed_over


def kept_checkpoints(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """The intact ones by their steps, oldest first, and one line on each that is damaged."""
    problems = {step: (path, check_checkpoint(path)) for step, path in sorted(_steps(folder))}
    intact = {step: path for step, (path, problem) in problems.items() if problem is None}
    return intact, [f"{path} is damaged ({problem})" for path, problem in problems.values() if problem is not None]


def newest_state(folder: Path) -> dict[str, Any] | None:
    """The plain values of the newest complete checkpoint, without its tensors; None if there is none."""
    for _, path in sorted(_steps(folder), reverse=True):
        if check_checkpoint(path) is None:
            with contextlib.suppress(OSError, ValueError, RecursionError):
                return _load_state(path)
    return None


def check_checkpoint(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, None if it is intact."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        hashes = manifest["sha256"]
        if manifest["format_version"] != 1:
            return f"format version {manifest['format_version']!r}"
        for name, expected in hashes.items():
            if Path(name).name != name or file_hash(path / name) != expected:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _load(path: Path) -> Checkpoint:
    state = _load_state(path)
    return Checkpoint({file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}, state)


def _load_state(path: Path) -> dict[str, Any]:
    state = json.loads((path / STATE).read_text())
    if not isinstance(state, dict) or type(state.get("step")) is not int or state["step"] < 0:
        raise ValueError(f"{STATE} holds no step")
    return state


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors ("3/exp_avg") and plain values. Its groups follow from the recipe and aren't kept."""
    tensors, plain = {}, {}
    for index, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{name}"] = value
            else:
                plain[f"{index}/{name}"] = value
    return tensors, plain


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Puts back what optimizer_tensors took."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **plain}.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
