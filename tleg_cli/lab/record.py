"""What decides the results of a comparison, as protocol.json keeps it, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tleg_cli import __version__
from tleg_cli.lab.made_by import differences, facts
from tleg_cli.lab.study import Study

FORMAT = 1  # of the folder


def record_of(study: Study) -> dict[str, Any]:
    """What decides the results, without what may be added later."""
    protocol = study.protocol.model_dump(mode="json", exclude={"seeds", "methods", "recipes", "images", "converged"})
    recipes = study.protocol.recipes
    return {
        "format": FORMAT,
        "tleg": __version__,
        "protocol": {**protocol, "depths": [list(depth) for depth in study.depths]},
        "config": study.config.model_dump(mode="json", exclude={"seed": True, "data": {"workers"}}),
        "images": study.images,
        "methods": {
            method.name: {
                **facts(method),
                "recipe": recipes[method.name].model_dump() if method.name in recipes else {},
            }
            for method in study.methods
        },
    }


def changes(before: dict[str, Any], now: dict[str, Any], study: Study) -> dict[str, str]:
    """Dotted key -> what differs, of all that decides results. A config key that was added later counts with its default."""
    chosen = study.config.model_dump(mode="json", exclude_defaults=True)
    old = {**before, "config": _with_defaults(before.get("config", {}), now["config"], chosen)}
    both = set(before["methods"]) & set(now["methods"])
    left_out = {"tleg": None, "methods": None}
    found = differences({**old, **left_out}, {**now, **left_out})
    for name in sorted(both):
        found |= differences(before["methods"][name], now["methods"][name], f"methods.{name}")
    return found


def _with_defaults(before: dict[str, Any], now: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(before)
    for key, value in now.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            filled[key] = _with_defaults(before[key], value, chosen.get(key, {}))
        elif key not in before and key not in chosen:
            filled[key] = value
    return filled


def is_allowed(key: str, allowed: Sequence[str]) -> bool:
    """Whether a dotted key, or the beginning of it, is one of those that may differ."""
    return any(key == name or key.startswith(f"{name}.") for name in allowed)
