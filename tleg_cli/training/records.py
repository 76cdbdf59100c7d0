"""What a run writes down, typed: the lines of metrics.jsonl and the summaries of finished trainings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict


class EpochRecord(TypedDict, total=False):
    """One line of metrics.jsonl: after an epoch, or before the first step (step 0, scores only). Scores are percentages."""

    epoch: int
    step: int
    loss: float  # mean over the epoch's steps and all ranks
    skipped_so_far: int
    lr: float
    images_per_second: float
    data_wait: float  # share of the time
    top1: float
    top5: float
    val_loss: float
    top1_at: dict[str, float]  # at further depths of an any-depth aux net
    ema_top1: float
    ema_top5: float
    ema_val_loss: float
    seconds: float


_GAIN = 0.1  # points of top-1: less is noise


def epochs_without_gain(history: Sequence[EpochRecord]) -> int:
    """How many epochs ago the mean top-1 over all scored depths last rose by more than 0.1 points."""
    best, since = -1.0, 0
    for record in history:
        scores = [record["top1"], *record.get("top1_at", {}).values()]
        mean = sum(scores) / len(scores)
        better = mean > best + _GAIN
        best, since = (mean, 0) if better else (best, since + 1)
    return since


class StepRecord(TypedDict):
    """One line of metrics.jsonl between two epochs, if log_every asks for it."""

    kind: Literal["step"]
    step: int
    loss: float  # of this step, mean over the ranks
    lr: float
    images_per_second: float  # since the epoch began or the run was resumed


class DepthScores(TypedDict):
    """Of a learngene at one depth, in percent; loss: None if it is not finite."""

    depth: str
    top1: float
    top5: float
    loss: float | None
    images: int


class EvaluationReport(TypedDict, total=False):
    """What `tleg evaluate --json` prints: the scores of one network, or `depths` of a learngene."""

    file: str
    data: str
    split: str
    top1: float
    top5: float
    loss: float | None
    images: int
    depths: list[DepthScores]


class Summary(TypedDict, total=False):
    """summary.json of one finished training."""

    kind: str  # teacher, aux or descendant
    model: str
    depth: str
    depths: str  # of an aux net: what each step's depth was drawn from
    top1_at: dict[str, float]
    ended_after: int  # epochs, if aux.patience ended it early
    scored: str  # "agreement", if top1 is how often the network decides as its teacher
    init: str
    parameters: int
    trained_parameters: int  # of a descendant, where they are not all
    train: str  # coefficients, if only they were trained
    learngene_parameters: int
    file: str
    sha256: dict[str, str]  # of every result file
    top1: list[float]  # after each epoch
    ema_top1: list[float | None]
    zero_epoch_top1: float  # before the first step
    zero_epoch_top1_at: dict[str, float]  # at the depths of top1_at
    final_top1: float | None
    seconds: float
    plan: dict[str, Any]  # the Budget


class FamilySummary(TypedDict):
    """summary.json of a family: its descendants, shallowest first."""

    kind: Literal["family"]
    init: str
    descendants: list[Summary]


def _number(value: Any) -> bool:
    """Finite, and small enough to be printed."""
    return type(value) in (int, float) and abs(value) < 1e15


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1e15


_REQUIRED = {
    "teacher": ("model", "parameters"),
    "aux": ("depth", "learngene_parameters"),
    "descendant": ("depth", "init", "parameters"),
}
# what each value of a summary must be, in words, and whether it is
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "kind": ("teacher, aux or descendant", lambda value: _text(value) and value in _REQUIRED),
    "model": ("a name", _text),
    "depth": ("a depth", lambda value: _text(value) and re.fullmatch(r"[0-9]{1,4}(:[0-9]{1,4})*", value) is not None),
    "init": ("learngene or scratch", lambda value: value in ("learngene", "scratch")),
    "parameters": ("a count", _count),
    "trained_parameters": ("a count", _count),
    "train": ("what was trained", _text),
    "learngene_parameters": ("a count", _count),
    "file": ("a file name", lambda value: _text(value) and bool(value)),
    "sha256": (
        "hashes by file name",
        lambda value: isinstance(value, dict) and bool(value) and all(map(_text, value.values())),
    ),
    "top1": ("a list of numbers", lambda value: isinstance(value, list) and all(map(_number, value))),
    "ema_top1": (
        "a list of numbers",
        lambda value: isinstance(value, list) and all(one is None or _number(one) for one in value),
    ),
    "zero_epoch_top1": ("a number", _number),
    "zero_epoch_top1_at": (
        "numbers by depth",
        lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    ),
    "top1_at": ("numbers by depth", lambda value: isinstance(value, dict) and all(map(_number, value.values()))),
    "final_top1": ("a number", lambda value: value is None or _number(value)),
    "seconds": ("a number", _number),
    "plan": ("an object", lambda value: isinstance(value, dict)),
}


def problem_of_summary(content: Mapping[str, Any]) -> str | None:
    """Why a summary can't be used: a value that is missing or of the wrong type. None if it can; unknown values pass."""
    for name, (rule, holds) in _RULES.items():
        if name in content and not holds(content[name]):
            return f"{name} is {repr(content[name])[:60]}, but it should be {rule}"
    for name in ("kind", *_REQUIRED.get(str(content.get("kind")), ()), "file", "top1", "final_top1"):
        if name not in content:
            return f"{name} is missing"
    return None
