"""What plugins define, checked item by item: each check gives the item's name, or raises PluginError for one that can't be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tleg_cli.declarations import is_name, shown
from tleg_cli.errors import PluginError
from tleg_cli.hookspecs import Backbone
from tleg_cli.initialiser import Initialiser


def _backbone_name(item: Any) -> str:
    if not isinstance(item, Backbone):  # which checks its own fields
        raise PluginError(f"{shown(item)} is not a Backbone")
    return item.name


def _basis_name(item: Any) -> str:
    """A matrix with a row for each block and a column for each theta, at any depth."""
    import torch

    from tleg_cli.learngene.basis import Basis

    if not isinstance(item, Basis):
        raise PluginError(f"{shown(item)} is not a Basis")
    if not is_name(item.name):
        raise PluginError(f"the name of a basis is {shown(item.name)}; it must be a name without spaces")
    if type(item.rank) is not int or item.rank < 1 or len(item.directions) != item.rank:
        raise PluginError(f"basis {item.name!r} has rank {item.rank!r} and {len(item.directions)} directions")
    for depth in (1, 5):
        matrix, rule = item.matrix(depth), f"must be finite and of shape {(depth, item.rank)}"
        shape = tuple(getattr(matrix, "shape", ()))
        if shape != (depth, item.rank) or not isinstance(matrix, torch.Tensor) or not matrix.isfinite().all():
            raise PluginError(f"basis {item.name!r}: matrix({depth}) {rule}, not {shape}")
    return item.name


def _initialiser_name(item: Any) -> str:
    if not isinstance(item, Initialiser):  # which checks its own fields
        raise PluginError(f"{shown(item)} is not an Initialiser")
    return item.name


def _pair_name(item: Any, what: str, holds: Callable[[Any], bool]) -> str:
    if not isinstance(item, tuple) or len(item) != 2 or not is_name(item[0]):
        raise PluginError(f"{shown(item)} is not a pair (name, {what})")
    if not holds(item[1]):
        raise PluginError(f"{item[0]!r}: {shown(item[1])} is not a {what}")
    return item[0]


def _is_app(value: Any) -> bool:
    import typer

    return isinstance(value, typer.Typer)


CHECKS: dict[
    str, Callable[[Any], str]
] = {  # hook -> the name of an item; raises PluginError for one that can't be used
    "tleg_backbones": _backbone_name,
    "tleg_bases": _basis_name,
    "tleg_sources": lambda item: _pair_name(item, "function", callable),
    "tleg_initialisers": _initialiser_name,
    "tleg_trackers": lambda item: _pair_name(item, "function", callable),
    "tleg_commands": lambda item: _pair_name(item, "Typer app", _is_app),
}
