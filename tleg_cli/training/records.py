"""What a run writes down, typed: the lines of metrics.jsonl and the summaries of finished trainings."""

from __future__ import annotations

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


class Summary(TypedDict, total=False):
    """summary.json of one finished training."""

    kind: str  # teacher, aux or descendant
    model: str
    depth: str
    depths: str  # of an aux net: what each step's depth was drawn from
    top1_at: dict[str, float]
    init: str
    parameters: int
    learngene_parameters: int
    file: str
    sha256: dict[str, str]  # of every result file
    top1: list[float]  # after each epoch
    ema_top1: list[float | None]
    zero_epoch_top1: float  # before the first step
    final_top1: float | None
    seconds: float
    plan: dict[str, Any]  # the Budget


class FamilySummary(TypedDict):
    """summary.json of a family: its descendants, shallowest first."""

    kind: Literal["family"]
    init: str
    descendants: list[Summary]
