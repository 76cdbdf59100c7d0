"""What a finished training reports: a table, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.report.output import print_facts, print_json, print_line, print_table
from tleg_cli.report.units import millions, percent, percents


def report_run(summary: Mapping[str, Any], folder: Path, *, as_json: bool, following: Sequence[str] = ()) -> None:
    """A teacher or an aux net. following: the commands that use the result."""
    if as_json:
        print_json(summary)
        return
    score = "top-1"
    if summary["kind"] != "aux":
        title = f"teacher {summary['model']}: {summary['parameters']:,} parameters"
    elif serves_many(summary):
        title = f"learngene for depths {summary['depths']}: {summary['learngene_parameters']:,} parameters"
        score = f"top-1 at depth {summary['depth']}"
    else:
        title = f"learngene of depth {summary['depth']}: {summary['learngene_parameters']:,} parameters"
    facts = {score: percents(summary["final_top1"])}
    if "ema_top1" in summary:
        facts["top-1 (EMA)"] = percents(_last(summary["ema_top1"]))
    print_facts(title, {**facts, "file": folder / summary["file"]})
    for number, command in enumerate(following):
        print_line(f"{'     ' if number else 'next:'} {command}")


def serves_many(summary: Mapping[str, Any]) -> bool:
    """Whether stage 1 trained at several depths. Older versions wrote no `depths`."""
    return bool(summary.get("depths", summary["depth"]) != summary["depth"])


def report_family(family: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    """Descendants, one row for each."""
    if as_json:
        print_json(family)
        return
    in_part = any("trained_parameters" in one for one in family["descendants"])
    averaged = any("ema_top1" in one for one in family["descendants"])
    rows = [
        [
            one["depth"],
            millions(one["parameters"]),
            *([_trained(one)] if in_part else []),
            percents(one.get("zero_epoch_top1")),
            percents(one["top1"][0] if one["top1"] else None),
            percents(one["final_top1"]),
            *([percents(_last(one.get("ema_top1")))] if averaged else []),
        ]
        for one in family["descendants"]
    ]
    columns = [
        "depth",
        "parameters",
        *["trained"] * in_part,
        "top-1 at 0 epochs",
        "after 1 epoch",
        "at the end",
        *["EMA"] * averaged,
    ]
    print_table(f"descendants from {family['init']}: {folder}", columns, rows)


def _trained(one: Mapping[str, Any]) -> str:
    """How many parameters were trained, and their share."""
    if "trained_parameters" not in one:
        return "all"
    return f"{one['trained_parameters']:,} ({percent(one['trained_parameters'] / max(one['parameters'], 1))})"


def _last(scores: list[float] | None) -> float | None:
    return scores[-1] if scores else None
