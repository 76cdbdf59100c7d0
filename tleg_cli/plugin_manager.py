"""Plugins: the built-in ones, and those that installed packages publish under the entry point group `tleg`."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

import pluggy

from tleg_cli import __version__
from tleg_cli.errors import ConfigError, PluginError, did_you_mean
from tleg_cli.hookspecs import Backbone, Hooks

ENTRY_POINTS = "tleg"
BUILT_IN = ("tleg_cli.plugins.deit", "tleg_cli.plugins.swin")  # as strings: this package never imports them by itself
LIMIT = "TLEG_LOAD_PLUGINS"  # comma-separated names of entry points to load; empty: none; unset: all

Item = TypeVar("Item")


@dataclass(frozen=True)
class PluginReport:
    """One plugin as `tleg plugins` shows it. `error` says why it isn't there."""

    name: str
    version: str
    source: str
    hooks: tuple[str, ...]
    error: str | None = None


@functools.cache
def load() -> tuple[pluggy.PluginManager, tuple[PluginReport, ...]]:
    """The manager with every plugin that could be loaded, and a report on each, in a fixed order."""
    manager = pluggy.PluginManager("tleg")
    manager.add_hookspecs(Hooks)
    reports = [
        _register(manager, name, __version__, "built in", functools.partial(importlib.import_module, name))
        for name in BUILT_IN
    ]
    for entry in _wanted_entry_points():
        version = entry.dist.version if entry.dist else "?"
        source = f"{entry.dist.name if entry.dist else '?'} ({entry.value})"
        reports.append(_register(manager, entry.name, version, source, entry.load))
    return manager, tuple(reports)


def _wanted_entry_points() -> list[metadata.EntryPoint]:
    entries = sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value))
    limit = os.environ.get(LIMIT)
    if limit is None:
        return entries
    wanted = {name.strip() for name in limit.split(",") if name.strip()}
    return [entry for entry in entries if entry.name in wanted]


def _register(
    manager: pluggy.PluginManager, name: str, version: str, source: str, load_plugin: Callable[[], Any]
) -> PluginReport:
    try:
        plugin = load_plugin()
        manager.register(plugin, name=name)
        manager.check_pending()
    except Exception as error:  # a stranger's code may raise anything; it is named and takes nothing else down
        if manager.has_plugin(name):
            manager.unregister(name=name)
        return PluginReport(name, version, source, (), f"{type(error).__name__}: {error}".splitlines()[0])
    hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
    return PluginReport(name, version, source, hooks)


def _collect(hook: str, kind: type[Item], name_of: Callable[[Item], str]) -> dict[str, Item]:
    """Everything that plugins return for `hook`, by name. Raises PluginError for a wrong type or a name taken twice."""
    manager, _ = load()
    found: dict[str, Item] = {}
    owner: dict[str, str] = {}
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        plugin = implementation.plugin_name
        for item in _call(implementation.function, hook, plugin):
            if not isinstance(item, kind):
                raise PluginError(f"plugin {plugin}: {hook} returned {item!r}, which is no {kind.__name__}")
            name = name_of(item)
            if name in found:
                raise PluginError(
                    f"{name!r} is claimed by two plugins: {owner[name]} and {plugin}; set {LIMIT} to load one"
                )
            found[name], owner[name] = item, plugin
    return found


def _call(function: Callable[[], Any], hook: str, plugin: str) -> Iterable[Any]:
    try:
        return list(function())
    except Exception as error:  # as above: a stranger's code
        raise PluginError(f"plugin {plugin}: {hook} failed: {type(error).__name__}: {error}") from error


@functools.cache
def backbones() -> dict[str, Backbone]:
    """Every registered backbone by its name."""
    return _collect("tleg_backbones", Backbone, lambda backbone: backbone.name)


def get_backbone(name: str) -> Backbone:
    """The backbone called `name`. Raises ConfigError, with the reason if a plugin that may have had it failed."""
    known = backbones()
    if name in known:
        return known[name]
    failed = [f" Plugin {report.name} could not be loaded: {report.error}." for report in load()[1] if report.error]
    raise ConfigError(f"backbone {name!r} is unknown.{did_you_mean(name, known)}{''.join(failed)}")


@functools.cache
def bases() -> tuple[Any, ...]:
    """Every registered basis beside the built-in ones."""
    from tleg_cli.learngene.basis import Basis

    return tuple(_collect("tleg_bases", Basis, lambda basis: basis.name).values())


@functools.cache
def sources() -> dict[str, Callable[[str], Any]]:
    """Every registered data source: scheme -> open."""
    pairs = _collect("tleg_sources", tuple, lambda pair: str(pair[0]))
    return {scheme: pair[1] for scheme, pair in pairs.items()}
