"""Finds and imports plugins: the built-in ones, and those that installed packages publish under the entry point group `tleg`.

A plugin that can't be loaded takes nothing else down; its report says why.
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
from tleg_cli.errors import PluginError
from tleg_cli.hookspecs import Hooks
from tleg_cli.plugin_checks import check_api

ENTRY_POINTS = "tleg"
BUILT_IN = tuple(f"tleg_cli.plugins.{name}" for name in ("deit", "swin", "eva", "convnext"))  # strings: no import here
LIMIT = "TLEG_LOAD_PLUGINS"  # comma-separated names of entry points to load; empty: none; unset: all


@dataclass(frozen=True)
class PluginReport:
    """One plugin as `tleg plugins` shows it. hooks: hook -> the names it gives. `error` says what isn't there, and why."""

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
    reports: list[PluginReport] = []
    wanted = _wanted()
    for name in BUILT_IN:
        plain = PluginReport(name, __version__, "built in")
        reports.append(_register(manager, plain, functools.partial(importlib.import_module, name), reports))
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, entry.value)):
        if wanted is None or entry.name in wanted:
            package = entry.dist.name if entry.dist else "?"
            version = (entry.dist.version if entry.dist else None) or "?"
            plain = PluginReport(entry.name, version, f"{package} ({entry.value})")
            reports.append(_register(manager, plain, entry.load, reports))
    missing = (wanted or set()) - {report.name for report in reports}
    reports += [
        PluginReport(name, "?", LIMIT, {}, "no installed package publishes a plugin of this name")
        for name in sorted(missing)
    ]
    return manager, tuple(reports)


def _wanted() -> set[str] | None:
    limit = os.environ.get(LIMIT)
    return None if limit is None else {name.strip() for name in limit.split(",") if name.strip()}


def _register(
    manager: pluggy.PluginManager,
    plain: PluginReport,
    load_plugin: Callable[[], Any],
    before: Iterable[PluginReport],
) -> PluginReport:
    first = next((report for report in before if report.name == plain.name and not report.error), None)
    if first:
        return replace(plain, error=f"the name {plain.name!r} is taken by {first.source}")
    try:
        plugin = speaking_to_stderr(load_plugin)
        check_api(plugin)
        manager.register(plugin, name=plain.name)
        manager.check_pending()
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything; it is named and takes nothing down
        if manager.has_plugin(plain.name):
            manager.unregister(name=plain.name)
        return replace(plain, error=reason_of(error))
    hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin) or ())
    return replace(
        plain,
        hooks=dict.fromkeys(hooks, ()),
        error=None if hooks else "it has no hook: mark its functions with @hookimpl",
    )


def speaking_to_stderr(function: Callable[[], Any]) -> Any:
    """stdout is for what a command reports; a plugin that prints would spoil `--json`."""
    with contextlib.redirect_stdout(sys.stderr):
        return function()


def reason_of(error: BaseException) -> str:
    """One line; an error of ours speaks for itself."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
