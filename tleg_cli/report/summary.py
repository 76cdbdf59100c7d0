"""What a finished training reports: a table, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tleg_cli.report.output import print_facts, print_json, print_table
from tleg_cli.report.units import millions, percents


def report_run(summary: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    """A teacher or an aux net."""
    if as_json:
        print_json(summary)
        return
    if summary["kind"] == "aux":
        title = f"learngene of depth {summary['depth']}: {summary['learngene_parameters']:,} parameters"
    else:
        title = f"teacher {summary['model']}: {summary['parameters']:,} parameters"
    facts = {"top-1": percents(summary["final_top1"])}
    if "ema_top1" in summary:
        facts["top-1 (EMA)"] = percents(_last(summary["ema_top1"]))
    print_facts(title, {**facts, "file": folder / summary["file"]})


def report_family(family: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    """Descendants, one row for each."""
    if as_json:
        print_json(family)
        return
    averaged = any("ema_top1" in one for one in family["descendants"])
    rows = [
        [
            one["depth"],
            millions(one["parameters"]),
            percents(one.get("zero_epoch_top1")),
            percents(one["top1"][0] if one["top1"] else None),
            percents(one["final_top1"]),
            *([percents(_last(one.get("ema_top1")))] if averaged else []),
        ]
        for one in family["descendants"]
    ]
    columns = ["depth", "parameters", "top-1 at 0 epochs", "after 1 epoch", "at the end", *["EMA"] * averaged]
    print_table(f"descendants from {family['init']}: {folder}", columns, rows)


def _last(scores: list[float] | None) -> float | None:
    return scores[-1] if scores else None
