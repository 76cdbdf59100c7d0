"""The page's table of tensors: its columns, what is in them and what they are sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tleg_cli.inspect.selection import linear_r2
from tleg_cli.report.page_shapes import spark
from tleg_cli.report.units import number, percent, shape

_SHAPE = (("layer", "layer"), ("shape", "shape"), ("dtype", "dtype"), ("parameters", "parameters"))
_MEASURED = (
    ("mean", "mean"), ("std", "std"), ("min", "min"), ("max", "max"), ("norm", "norm"), ("spectral_norm", "spectral"),
    ("effective_rank", "eff. rank"), ("nan", "NaN"), ("inf", "Inf"),
)  # fmt: skip


def table(file: Mapping[str, Any]) -> dict[str, Any]:
    """columns: {key, label, text}; rows: a name, a histogram, and cells {text, by} in the order of the columns."""
    measured = "modules" in file
    columns = [*_SHAPE, *(_MEASURED if measured else ())]
    columns += [("r2", "R² linear")] if measured and file["basis"] is None else []
    columns += [("drift", "drift")] if file.get("against") else []
    r2 = {stack["name"]: linear_r2(stack.get("linearity")) for stack in file["stacks"]}
    drift = {entry["name"]: entry["drift"] for entry in (file.get("against") or {"tensors": ()})["tensors"]}
    rows = []
    for entry in file["tensors"]:
        values = {**entry, "r2": r2.get(entry["stack"]), "drift": drift.get(entry["name"])}
        cells = [_cell(key, values) for key, _ in columns]
        rows.append({"name": entry["name"], "cells": cells, "spark": spark(entry)})
    return {"columns": [{"key": key, "label": label} for key, label in columns], "rows": rows, "sparks": measured}


def _cell(key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """by: a number, or a text for what is not a number, or "" for what is missing."""
    value = values.get(key)
    if key == "shape":
        return {"text": shape(values["shape"]), "by": _product(values["shape"])}
    if key == "dtype":
        return {"text": value, "by": value}
    if value is None:
        return {"text": "–", "by": ""}
    if key in ("r2", "drift"):
        return {"text": percent(value), "by": value}
    if key in ("layer", "parameters", "nan", "inf"):
        return {"text": f"{value:,}", "by": value}
    return {"text": number(value), "by": value}


def _product(numbers: list[int]) -> int:
    total = 1
    for one in numbers:
        total *= one
    return total
