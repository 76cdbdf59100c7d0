"""What a plugin declares: the rules that its fields keep, and how a value that doesn't is reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tleg_cli.errors import PluginError

# field -> (the rule, whether a value keeps it)
Rules = Mapping[str, tuple[str, Callable[[Any], bool]]]


def check_fields(kind: str, declared: Any, rules: Rules) -> None:
    """Raises PluginError that names the first field of `declared` that breaks its rule. kind: as in `backbone`; it has a `name`."""
    for field, (rule, holds) in rules.items():
        value = getattr(declared, field)
        if not holds(value):
            raise PluginError(f"{field} of {kind} {shown(declared.name)} is {shown(value)}; it must be {rule}")


def is_name(value: Any) -> bool:
    """Whether a value can be the name of a backbone, basis, source or command."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value) is not None


def shown(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
