"""Metadata of a file, checked value by value: it goes into timm.create_model and into arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from tleg_cli.errors import FileFormatError
from tleg_cli.learngene.depths import MAX_DEPTH
from tleg_cli.learngene.gene import Metadata


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(value: Any, *, smallest: float) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(_number(n) and n > smallest for n in value)


def _table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


# what each value must be, in words, and whether it is
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "backbone": ("the name of a backbone", lambda value: isinstance(value, str) and bool(value)),
    "options": ("a table", _table),
    "depth": (
        f"a list of numbers from 1 to {MAX_DEPTH}",
        lambda value: (
            isinstance(value, list | tuple)
            and bool(value)
            and all(_whole(blocks) and 0 < blocks <= MAX_DEPTH for blocks in value)
        ),
    ),
    "classes": ("a whole number from 0", lambda value: _whole(value) and value >= 0),
    "image_size": ("a whole number from 1", lambda value: _whole(value) and value > 0),
    "mean": ("three numbers", lambda value: _numbers(value, smallest=-math.inf)),
    "std": ("three numbers above 0", lambda value: _numbers(value, smallest=0)),
    "crop_pct": ("a number above 0 and up to 1", lambda value: _number(value) and 0 < value <= 1),
    "provenance": ("a table", _table),
}
_OPTIONAL = {"crop_pct", "provenance"}  # Metadata has defaults for them


def checked_metadata(values: Mapping[str, Any]) -> Metadata:
    """Metadata of plain values. Raises FileFormatError that names the value that is missing, unknown or wrong."""
    known = {field.name for field in fields(Metadata)}
    for key in sorted(known - _OPTIONAL - set(values)):
        raise FileFormatError(f"metadata {key} is missing")
    for key in values:
        if key not in known:
            raise FileFormatError(f"metadata {key} is unknown to this tleg")
    for key, value in values.items():
        rule, holds = _RULES[key]
        if not holds(value):
            raise FileFormatError(f"metadata {key} = {repr(value)[:80]} should be {rule}")
    tuples = {key: tuple(values[key]) for key in ("depth", "mean", "std")}
    return Metadata(**{**values, **tuples})
