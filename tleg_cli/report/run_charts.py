"""The charts of a report: loss, scores, rate, speed and waiting of one training, or of several over each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tleg_cli.inspect.run_record import RunRecord, number_of, scores_by_depth
from tleg_cli.report.curves import Line, Point, chart
from tleg_cli.report.units import percents


@dataclass(frozen=True)
class Named:
    """A run and how the page calls it."""

    name: str
    run: RunRecord


Value = Callable[[Mapping[str, Any]], float | None]


def charts_of(runs: Sequence[Named], family: bool) -> list[dict[str, Any]]:
    """Loss, scores, rate, speed and waiting. One run: several lines of it in a chart; several: one line of each."""
    over = "epochs" if all(_per_epoch(one.run) for one in runs) else "steps"

    def of(key: str, scale: float = 1.0) -> Value:
        return lambda record: None if (value := number_of(record, key)) is None else scale * value

    def line(one: Named, name: str, value: Value, colour: int, *, steps: bool = False) -> Line:
        return Line(name, _points(one.run, value, over, steps=steps), colour, thin=steps)

    if len(runs) == 1:
        (one,) = runs
        by_step = [line(one, "of single steps", of("loss"), 0, steps=True)] if one.run.steps else []
        losses = [*by_step, line(one, "training", of("loss"), 0), line(one, "validation", of("val_loss"), 1)]
        scores = [line(one, "network", of("top1"), 0), line(one, "average (EMA)", of("ema_top1"), 1)]
        waits = line(one, "share", of("data_wait", 100), 0)
        found = [
            chart("Loss", "", losses, over),
            chart("Top-1", "%", scores, over),
            _chart_at_depths(one, over),
            chart("Learning rate", "", [line(one, "rate", of("lr"), 0)], over, from_zero=True),
            chart("Images per second", "", [line(one, "training", of("images_per_second"), 0)], over, from_zero=True),
            chart("Waiting for data", "% of the time", [waits], over, from_zero=True),
        ]
    else:
        found = [_chart_of_family(runs)] if family else []
        for title, unit, value, from_zero in (
            ("Training loss", "", of("loss"), False),
            ("Validation loss", "", of("val_loss"), False),
            ("Top-1", "%", of("top1"), False),
            ("Top-1 of the average (EMA)", "%", of("ema_top1"), False),
            ("Learning rate", "", of("lr"), True),
            ("Images per second", "", of("images_per_second"), True),
            ("Waiting for data", "% of the time", of("data_wait", 100), True),
        ):
            lines = [line(one, one.name, value, index) for index, one in enumerate(runs)]
            found.append(chart(title, unit, lines, over, from_zero=from_zero))
    return [one for one in found if one is not None]


def _per_epoch(run: RunRecord) -> float | None:
    steps = number_of(run.plan, "steps_per_epoch")
    return steps if steps and steps > 0 else None


def _points(run: RunRecord, value: Value, over: str, *, steps: bool = False) -> list[Point]:
    each = (_per_epoch(run) or 1.0) if over == "epochs" else 1.0
    found = []
    for record in run.steps if steps else run.epochs:
        at, known = number_of(record, "step"), value(record)
        if at is not None and known is not None:
            found.append((at / each, known))
    return found


def _chart_at_depths(one: Named, over: str) -> dict[str, Any] | None:
    """Top-1 of an any-depth aux net at each scored depth, epoch by epoch."""
    depths = dict.fromkeys(depth for record in one.run.epochs for depth in scores_by_depth(record))

    def at(depth: str) -> Value:
        return lambda record: scores_by_depth(record).get(depth)

    lines = [Line(f"depth {depth}", _points(one.run, at(depth), over), index) for index, depth in enumerate(depths)]
    title = f"Top-1 at {lines[0].name}" if len(lines) == 1 else "Top-1 at further depths"
    return chart(title, "%", lines, over)


def _chart_of_family(runs: Sequence[Named]) -> dict[str, Any] | None:
    """Final scores over the number of blocks."""
    known = [one for one in runs if one.run.depth and one.run.epochs]

    def points(value: Callable[[RunRecord], float | None]) -> list[Point]:
        found = [(float(_blocks(str(one.run.depth))), value(one.run)) for one in known]
        return sorted((blocks, score) for blocks, score in found if score is not None)

    def before(run: RunRecord) -> float | None:
        return number_of(run.epochs[0], "top1") if number_of(run.epochs[0], "step") == 0 else None

    lines = [
        Line("after training", points(lambda run: number_of(run.epochs[-1], "top1")), 0),
        Line("average (EMA)", points(lambda run: number_of(run.epochs[-1], "ema_top1")), 1),
        Line("before training", points(before), 2),
    ]
    return chart("Top-1 of the family", "%", lines, "blocks")


def _blocks(depth: str) -> int:
    return sum(int(part) for part in depth.split(":") if part.isdigit())


def depths_of(runs: Sequence[Named]) -> dict[str, Any] | None:
    """The last scores of any-depth runs: a row for each depth, the trained depth included; a column for each run.

    A single run that was scored before its first step, as an adoption is, has these scores in a column of their own.
    """
    scores: dict[str, dict[str, float]] = {}
    colours: dict[str, int] = {}
    for colour, one in enumerate(runs):  # as in the other charts
        if not one.run.epochs:
            continue
        if len(runs) == 1 and number_of(one.run.epochs[0], "step") == 0 < len(one.run.epochs) - 1:
            scores["before training"], colours["before training"] = _at_all_depths(one.run, one.run.epochs[0]), 2
        name = "after training" if "before training" in scores else one.name
        scores[name], colours[name] = _at_all_depths(one.run, one.run.epochs[-1]), colour
    scores = {name: found for name, found in scores.items() if found}
    if not scores:
        return None
    depths = sorted({depth for found in scores.values() for depth in found}, key=lambda depth: (_blocks(depth), depth))
    lines = [
        Line(name, sorted((float(_blocks(depth)), score) for depth, score in found.items()), colours[name])
        for name, found in scores.items()
    ]
    rows = [{"name": depth, "cells": [percents(found.get(depth), 2) for found in scores.values()]} for depth in depths]
    return {"columns": list(scores), "rows": rows, "chart": chart("Top-1 over depth", "%", lines, "blocks")}


def _at_all_depths(run: RunRecord, record: Mapping[str, Any]) -> dict[str, float]:
    """The scores of an epoch by depth, that of the trained depth among them; empty for a network of one depth."""
    at = scores_by_depth(record)
    if not at:
        return {}
    top1 = number_of(record, "top1")
    return {**({run.depth: top1} if run.depth and top1 is not None else {}), **at}
