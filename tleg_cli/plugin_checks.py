"""What a hook may return, item by item: each check returns the item's name, or raises PluginError with the rule it breaks.

A plugin is written by a stranger, so what it returns is looked at when it is registered, not when a training fails on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tleg_cli.errors import PluginError
from tleg_cli.hookspecs import API_VERSION, Backbone

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_api(plugin: Any) -> None:
    """Raises PluginError for a plugin whose `TLEG_API` is a hook version that this tleg doesn't have."""
    wanted = getattr(plugin, "TLEG_API", API_VERSION)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise PluginError(f"its TLEG_API is {wanted!r}; write the hook version it was made for, now {API_VERSION}")
    if wanted > API_VERSION:
        raise PluginError(f"it was written for hook version {wanted}, this tleg has {API_VERSION}: update tleg")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _are_places(value: Any) -> bool:
    """A tuple of different dotted names, none inside another."""
    if not isinstance(value, tuple) or not value or not all(isinstance(place, str) and place for place in value):
        return False
    return not any(one != other and f"{other}.".startswith(f"{one}.") for one in value for other in value) and len(
        set(value)
    ) == len(value)


def _are_depths(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(number) is int and number >= 1 for number in value)


def _are_keywords(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in value)


# field -> (the rule, whether a value keeps it)
_BACKBONE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name without spaces, as in 'my_vit'", _is_name),
    "timm_name": ("the name that timm.create_model takes", lambda value: isinstance(value, str) and bool(value)),
    "stages": ("a tuple of different places, as in ('blocks',)", _are_places),
    "depth_argument": ("a keyword, as in 'depth'", lambda value: isinstance(value, str) and value.isidentifier()),
    "usual_depth": ("a tuple of numbers from 1, as in (12,)", _are_depths),
    "arguments": ("a dict of keyword arguments", _are_keywords),
    "options": ("a dict of keyword arguments with their defaults", _are_keywords),
    "head": ("a tuple of names, as in ('head',)", lambda value: value == () or _are_places(value)),
}


def check_backbone(item: Any) -> str:
    """The name of a Backbone whose fields can be what they say."""
    if not isinstance(item, Backbone):
        raise PluginError(f"{_shown(item)} is no Backbone")
    for name, (rule, keeps) in _BACKBONE.items():
        value = getattr(item, name)
        if not keeps(value):
            raise PluginError(f"{name} of backbone {item.name!r} is {_shown(value)}; it must be {rule}")
    if len(item.usual_depth) != len(item.stages):
        raise PluginError(
            f"usual_depth of backbone {item.name!r} has {len(item.usual_depth)} numbers for {len(item.stages)} stages"
        )
    twice = {*item.arguments} & {*item.options} or {item.depth_argument, "num_classes"} & {
        *item.arguments,
        *item.options,
    }
    if twice:
        raise PluginError(f"backbone {item.name!r} sets {min(twice)!r} twice; tleg passes depth and classes itself")
    return item.name


def check_basis(item: Any) -> str:
    """The name of a Basis whose matrix has a row for each block and a column for each theta."""
    import torch

    from tleg_cli.learngene.basis import Basis

    if not isinstance(item, Basis):
        raise PluginError(f"{_shown(item)} is no Basis")
    if not _is_name(item.name):
        raise PluginError(f"a basis is called {_shown(item.name)}; it must be a name without spaces")
    if type(item.rank) is not int or item.rank < 1 or len(item.directions) != item.rank:
        raise PluginError(f"basis {item.name!r} has rank {item.rank!r} and {len(item.directions)} directions")
    for depth in (1, 5):
        matrix = item.matrix(depth)
        shape = tuple(getattr(matrix, "shape", ()))
        if shape != (depth, item.rank) or not isinstance(matrix, torch.Tensor) or not matrix.isfinite().all():
            raise PluginError(
                f"basis {item.name!r}: matrix({depth}) must be finite and of shape {(depth, item.rank)}, not {shape}"
            )
    return item.name


def check_source(item: Any) -> str:
    """The scheme of a pair (scheme, function)."""
    scheme, opener = _pair(item, "(scheme, function)")
    if not callable(opener):
        raise PluginError(f"source {scheme!r}: {_shown(opener)} is no function")
    return scheme


def check_command(item: Any) -> str:
    """The name of a pair (name, Typer app)."""
    import typer

    name, app = _pair(item, "(name, Typer app)")
    if not isinstance(app, typer.Typer):
        raise PluginError(f"command {name!r}: {_shown(app)} is no Typer app")
    return name


def _pair(item: Any, what: str) -> tuple[str, Any]:
    if not isinstance(item, tuple) or len(item) != 2 or not _is_name(item[0]):
        raise PluginError(f"{_shown(item)} is no pair {what}")
    return item


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


CHECKS: dict[str, Callable[[Any], str]] = {
    "tleg_backbones": check_backbone,
    "tleg_bases": check_basis,
    "tleg_sources": check_source,
    "tleg_commands": check_command,
}
