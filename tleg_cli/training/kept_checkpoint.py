"""What a checkpoint of a run folder holds, as a network or learngene to be scored: also of a run that is not finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file
from torch import Tensor

from tleg_cli.config import Config
from tleg_cli.config_file import load_config
from tleg_cli.errors import ConfigError, FileFormatError, first_line
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.build import timm_call
from tleg_cli.models.coefficient_net import plain_state
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.teacher import card_of_trained
from tleg_cli.training.checkpoint import kept_checkpoints, newest_state
from tleg_cli.training.run_folder import RunFolder, read_json
from tleg_cli.training.task import resolve

Which = Literal["best", "last"]
_FILES = {"raw": "model", "ema": "ema"}  # weight set -> file of a checkpoint


@dataclass(frozen=True)
class Kept:
    """A checkpoint's weights: of a network with its card, or as a learngene. notes: which these are, one line each."""

    path: Path
    notes: Sequence[str]
    learngene: Learngene | None = None
    card: ModelCard | None = None
    weights: dict[str, Tensor] | None = None


def open_kept(run: Path, which: Which, weight_set: str) -> Kept:
    """The best checkpoint of a run, by top-1, or the last. weight_set: auto (the moving average if there is one), raw or ema.

    Raises ConfigError if the run keeps no such checkpoint, FileFormatError for a damaged folder.
    """
    folder = RunFolder(run)
    path, notes = _choose(folder, which)
    sets = [name for name in ("raw", "ema") if (path / f"{_FILES[name]}.safetensors").is_file()]
    chosen = sets[-1] if weight_set == "auto" and sets else weight_set
    if chosen not in sets:
        raise ConfigError(
            f"{path} has no weights {chosen!r}; it has {' and '.join(sets) or 'none'}: choose by --weights"
        )
    if len(sets) > 1:
        notes.append(f"weights: {chosen}, of {' and '.join(sets)}")
    tensors = load_file(path / f"{_FILES[chosen]}.safetensors")
    if chosen == "ema":
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    config, record = load_config(str(folder.config)), read_json(folder.record)
    try:
        return _opened(config, record, tensors, Kept(path, notes))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileFormatError(
            f"{path} doesn't fit {folder.record} ({first_line(error)}); `tleg verify {run}` checks both"
        ) from error


def _choose(folder: RunFolder, which: Which) -> tuple[Path, list[str]]:
    kept, damaged = kept_checkpoints(folder.checkpoints)
    state = newest_state(folder.checkpoints)
    if not kept or state is None:
        raise ConfigError(
            f"{folder.path} has no checkpoint{f': {damaged[0]}' if damaged else ''}; start or continue its training"
        )
    if which == "last":
        step = max(kept)
        return kept[step], [*damaged, f"step {step}, the last checkpoint"]
    scored = [one for one in state.get("history", ()) if isinstance(one, dict) and {"step", "top1"} <= set(one)]
    best = max(scored, key=lambda record: record["top1"], default=None)
    if best is None:
        raise ConfigError(f"{folder.path} has scored no epoch yet; --checkpoint last takes step {max(kept)}")
    if best["step"] not in kept:
        steps = ", ".join(map(str, kept))
        raise ConfigError(
            f"{folder.path} doesn't keep step {best['step']}, its best; it keeps {steps}: take --checkpoint last"
        )
    return kept[best["step"]], [
        *damaged,
        f"step {best['step']}, the best of the run (top-1 {best['top1']:.2f} % while training)",
    ]


def _opened(config: Config, record: dict[str, Any], tensors: dict[str, Tensor], kept: Kept) -> Kept:
    task, classes = resolve(config), tuple(record["classes"])
    if record["command"] == "train-aux":
        network = new_aux_net(
            task.backbone, task.basis, task.metadata(classes), task.expansion, task.draw.all if task.draw else ()
        )
        network.load_state_dict(tensors, strict=True)
        return replace(kept, learngene=network.requires_grad_(False).learngene())
    if record["command"] == "train-teacher":
        card = card_of_trained(config.teacher, config.data.input, classes)
        return replace(kept, card=card, weights={name.removeprefix("net."): one for name, one in tensors.items()})
    depth = task.complete(parse_depths(record["depth"])[0])
    call = timm_call(task.backbone, task.options, depth, len(classes))
    card = ModelCard("descendant", call, len(classes), config.data.input, class_names=classes)
    return replace(kept, card=card, weights=plain_state(tensors))
