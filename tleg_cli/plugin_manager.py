"""Plugins: load them, check what their hooks return, and look names up.

A plugin that can't be used never breaks anything else. The reason is shown by `tleg plugins`, and in the error for a name
that the plugin may have defined.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import pluggy

from tleg_cli import __version__
from tleg_cli.errors import ConfigError, PluginError, did_you_mean
from tleg_cli.hookspecs import Backbone, Hooks, check_version
from tleg_cli.initialiser import Initialiser
from tleg_cli.plugin_checks import CHECKS

ENTRY_POINTS = "tleg"
BUILT_IN = tuple(
    f"tleg_cli.plugins.{name}" for name in ("deit", "swin", "eva", "convnext", "initialisers", "trackers")
)  # strings: no import here
LIMIT = "TLEG_LOAD_PLUGINS"  # comma-separated names of entry points to load; empty: none; unset: all
RESERVED = {  # tleg's own names, which no plugin may define
    "tleg_bases": ("constant", "linear", "polynomial", "piecewise", "hat", "cosine"),
    "tleg_sources": ("digits", "mnist5k", "synthetic", "torch", "hfds", "holdout", "first"),
}
BROKEN = (Exception, SystemExit)  # what a third party's code may raise


@dataclass(frozen=True)
class PluginReport:
    """One plugin as `tleg plugins` shows it. hooks: hook -> the names it defines. error: what can't be used, and why."""

    name: str
    version: str
    source: str
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: str | None = None


@functools.cache
def load() -> tuple[pluggy.PluginManager, tuple[PluginReport, ...]]:
    """The manager with every plugin that could be loaded, and a report on each, in a fixed order."""
    manager = pluggy.PluginManager("tleg")
    manager.add_hookspecs(Hooks)
    limit = os.environ.get(LIMIT)
    wanted = None if limit is None else {name.strip() for name in limit.split(",") if name.strip()}
    found: list[tuple[PluginReport, Callable[[], Any]]] = []
    for name in BUILT_IN:
        found.append((PluginReport(name, __version__, "built in"), functools.partial(importlib.import_module, name)))
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        if wanted is None or entry.name in wanted:
            package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("?", None)
            found.append((PluginReport(entry.name, version or "?", f"{package} ({entry.value})"), entry.load))
    reports: list[PluginReport] = []
    for report, load_plugin in found:
        reports.append(_register(manager, report, load_plugin, reports))
    for name in sorted((wanted or set()) - {report.name for report in reports}):
        reports.append(PluginReport(name, "?", LIMIT, error="no installed package publishes a plugin of this name"))
    return manager, tuple(reports)


def _register(
    manager: pluggy.PluginManager, report: PluginReport, load_plugin: Callable[[], Any], before: Iterable[PluginReport]
) -> PluginReport:
    if first := next((other for other in before if other.name == report.name and not other.error), None):
        return replace(report, error=f"the name {report.name!r} is taken by {first.source}")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints would spoil `--json`
            plugin = load_plugin()
        check_version(plugin)
        manager.register(plugin, name=report.name)
        manager.check_pending()
    except BROKEN as error:
        if manager.has_plugin(report.name):
            manager.unregister(name=report.name)
        return replace(report, error=_reason(error))
    hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin) or ())
    without = None if hooks else "it defines no hook: mark its functions with @hookimpl"
    return replace(report, hooks=dict.fromkeys(hooks, ()), error=without)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"


@dataclass(frozen=True)
class Offers:
    """What the plugins define under one hook. owners: name -> plugins that claim it; errors: plugin -> why it is left out."""

    items: Mapping[str, Any]  # name -> item, without names that two plugins claim
    owners: Mapping[str, tuple[str, ...]]
    errors: Mapping[str, str]

    def clash(self, name: str) -> str | None:
        """The error for a name that several plugins claim."""
        if len(owners := self.owners.get(name, ())) < 2:
            return None
        return f"{name!r} is defined by two plugins: {' and '.join(owners)}; uninstall one, or leave it out of {LIMIT}"

    def get(self, name: str) -> Any:
        """The item, or None if no plugin has it. Raises PluginError if several claim the name."""
        if clash := self.clash(name):
            raise PluginError(clash)
        return self.items.get(name)


@functools.cache
def offers(hook: str, own: frozenset[str] = frozenset()) -> Offers:
    """What every plugin returns for `hook`, checked. own: further names of tleg, which no plugin may define."""
    items: dict[str, Any] = {}
    owners: dict[str, tuple[str, ...]] = {}
    errors: dict[str, str] = {}
    for implementation in getattr(load()[0].hook, hook).get_hookimpls():
        try:
            with contextlib.redirect_stdout(sys.stderr):
                named = _named(hook, implementation.function, own)
        except BROKEN as error:
            errors[implementation.plugin_name] = f"{hook}: {_reason(error)}"
            continue
        for name, item in named:
            items[name] = item
            owners[name] = (*owners.get(name, ()), implementation.plugin_name)
    return Offers({name: item for name, item in items.items() if len(owners[name]) == 1}, owners, errors)


def _named(hook: str, function: Callable[[], Iterable[Any]], own: frozenset[str]) -> list[tuple[str, Any]]:
    """What one plugin returns, each item with its name."""
    found = [(CHECKS[hook](item), item) for item in function()]
    taken = [name for name, _ in found if name in own.union(RESERVED.get(hook, ()))]
    if taken:
        raise PluginError(f"{taken[0]!r} is a name of tleg itself; choose another")
    return found


def survey(commands: Iterable[str] = ()) -> tuple[PluginReport, ...]:
    """Every plugin with what it defines, hook by hook, and everything that is wrong with it. commands: tleg's own."""
    reports = []
    for report in load()[1]:
        hooks, wrong = {}, [report.error]
        for hook in report.hooks:
            found = offers(hook, frozenset(commands) if hook == "tleg_commands" else frozenset())
            hooks[hook] = tuple(name for name, owners in found.owners.items() if report.name in owners)
            wrong += [found.errors.get(report.name), *(found.clash(name) for name in hooks[hook])]
        reports.append(replace(report, hooks=hooks, error="; ".join(filter(None, wrong)) or None))
    return tuple(reports)


def failures(hook: str, own: Iterable[str] = ()) -> str:
    """` Plugin x can't be used: reason.` for every plugin that may have had a name but is left out; or an empty string."""
    broken = {report.name: report.error for report in load()[1] if report.error}
    broken |= offers(hook, frozenset(own)).errors
    return "".join(f" Plugin {name} can't be used: {reason}." for name, reason in broken.items())


def backbones() -> dict[str, Backbone]:
    """Every registered backbone by its name, without names that two plugins claim."""
    return dict(offers("tleg_backbones").items)


def get_backbone(name: str) -> Backbone:
    """The backbone called `name`. Raises PluginError if two plugins claim it, ConfigError if there is none."""
    backbone: Backbone | None = offers("tleg_backbones").get(name)
    if backbone is None:
        raise ConfigError(f"backbone {name!r} is unknown.{did_you_mean(name, backbones())}{failures('tleg_backbones')}")
    return backbone


def bases() -> tuple[Any, ...]:
    """Every basis that plugins define. Raises PluginError for a name that two plugins claim."""
    found = offers("tleg_bases")
    return tuple(found.get(name) for name in found.owners)


def get_basis(name: str) -> Any:
    """The basis called `name`, built in or a plugin's. Raises ConfigError if there is none."""
    from tleg_cli.learngene.basis import get_basis as find

    try:
        return find(name, bases())
    except ConfigError as error:
        raise ConfigError(f"{error}{failures('tleg_bases')}") from None


def sources() -> dict[str, Callable[[str], Any]]:
    """Every registered data source: scheme -> function. Raises PluginError for a name that two plugins claim."""
    found = offers("tleg_sources")
    return {scheme: found.get(scheme)[1] for scheme in found.owners}


def initialisers() -> dict[str, Initialiser]:
    """Every registered initialiser by its name, without names that two plugins claim."""
    return dict(offers("tleg_initialisers").items)


def get_initialiser(name: str) -> Initialiser:
    """The initialiser called `name`. Raises PluginError if two plugins claim it, ConfigError if there is none."""
    found: Initialiser | None = offers("tleg_initialisers").get(name)
    if found is None:
        near = did_you_mean(name, initialisers())
        raise ConfigError(
            f"method {name!r} is unknown.{near}{failures('tleg_initialisers')} `tleg lab --list` shows all."
        )
    return found


def get_tracker(name: str) -> Callable[[], Any]:
    """What loads the tracker called `name`. Raises PluginError if two plugins claim it, ConfigError if there is none."""
    found = offers("tleg_trackers")
    pair = found.get(name)
    if pair is None:
        raise ConfigError(f"tracker {name!r} is unknown.{did_you_mean(name, found.items)}{failures('tleg_trackers')}")
    load_tracker: Callable[[], Any] = pair[1]
    return load_tracker


def get_command(name: str, own: Iterable[str] = ()) -> Any:
    """The Typer app of `tleg name`, None if no plugin has it. own: tleg's commands. Raises PluginError if two claim it."""
    pair = offers("tleg_commands", frozenset(own)).get(name)
    return None if pair is None else pair[1]
