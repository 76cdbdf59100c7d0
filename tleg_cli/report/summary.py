"""What a finished training says: a table for a person, one JSON object for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    """One JSON document on stdout; NaN would not be JSON and is refused."""
    json.dump(value, sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, words to the left, numbers to the right; as wide as it must be, nothing is cut off."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numbers = index > 0 and all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=10_000, markup=False, emoji=False, highlight=False)  # a cell may hold what a stranger wrote
    console.print(title, style="bold")
    console.width = max(1, console.measure(table).maximum)
    with console.capture() as caught:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in caught.get().splitlines())


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("+-")[:1].isdigit()


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Names and values on stdout, one pair a line."""
    Console(width=10_000, markup=False, emoji=False, highlight=False).print(title, style="bold")
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def report_run(summary: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    """A teacher or an aux net."""
    if as_json:
        print_json(summary)
        return
    if summary["kind"] == "aux":
        title = f"learngene of depth {summary['depth']}: {summary['learngene_parameters']:,} parameters"
    else:
        title = f"teacher {summary['model']}: {summary['parameters']:,} parameters"
    facts = {"top-1": _percent(summary["final_top1"])}
    if "ema_top1" in summary:
        facts["top-1 (EMA)"] = _percent(summary["ema_top1"][-1])
    print_facts(title, {**facts, "file": folder / summary["file"]})


def report_family(family: Mapping[str, Any], folder: Path, *, as_json: bool) -> None:
    """Descendants, one row each."""
    if as_json:
        print_json(family)
        return
    averaged = any("ema_top1" in one for one in family["descendants"])
    rows = [
        [
            one["depth"],
            f"{one['parameters'] / 1e6:.3f} M",
            _percent(one.get("zero_epoch_top1")),
            _percent(one["top1"][0] if one["top1"] else None),
            _percent(one["final_top1"]),
            *([_percent(one["ema_top1"][-1] if one.get("ema_top1") else None)] if averaged else []),
        ]
        for one in family["descendants"]
    ]
    columns = ["depth", "parameters", "top-1 untrained", "after 1 epoch", "at the end", *["EMA"] * averaged]
    print_table(f"descendants from {family['init']}: {folder}", columns, rows)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"
