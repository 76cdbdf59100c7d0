"""What plugins give, by name: backbones, bases, data sources, commands; a name that two claim is an error that names both.

A hook that returns nonsense takes nothing else down: the reason is in `tleg plugins` and in the error of who looks for its names.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import pluggy

from tleg_cli import __version__
from tleg_cli.errors import ConfigError, PluginError, did_you_mean
from tleg_cli.hookspecs import API_VERSION, Backbone, Hooks

# names that are tleg's own, where plugins can't be the ones who bring them
RESERVED = {
    "tleg_bases": ("constant", "linear", "polynomial", "piecewise", "hat"),
    "tleg_sources": ("digits", "torch", "hfds"),
}


@dataclass(frozen=True)
class Offers:
    """What the plugins give under one hook. items: name -> item; owners: name -> who claims it, more than one: a clash."""

    items: Mapping[str, Any]
    owners: Mapping[str, tuple[str, ...]]
    errors: Mapping[str, str]  # plugin -> why nothing of its is here

    def clash(self, name: str) -> str | None:
        """The error for a name that two claim."""
        owners = self.owners.get(name, ())
        if len(owners) < 2:
            return None
        return f"{name!r} is claimed by two: {' and '.join(owners)}; uninstall one, or leave it out of {LIMIT}"

    def get(self, name: str) -> Any:
        """The item, None if nobody has it. Raises PluginError for a clash."""
        clash = self.clash(name)
        if clash:
            raise PluginError(clash)
        return self.items.get(name)


@functools.cache
def offers(hook: str, own: frozenset[str] = frozenset()) -> Offers:
    """What every plugin returns for `hook`, checked. A plugin that returns nonsense gives nothing under this hook.

    own: further names that no plugin may take.
    """
    manager, _ = load()
    items: dict[str, Any] = {}
    owners: dict[str, tuple[str, ...]] = {}
    errors: dict[str, str] = {}
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        plugin = implementation.plugin_name
        try:
            found = _checked(hook, implementation.function, own.union(RESERVED.get(hook, ())))
        except (Exception, SystemExit) as error:  # a stranger's code may raise anything
            errors[plugin] = f"{hook}: {reason_of(error)}"
            continue
        for name, item in found:
            items[name] = item
            owners[name] = (*owners.get(name, ()), plugin)
    return Offers({name: item for name, item in items.items() if len(owners[name]) == 1}, owners, errors)


def _checked(hook: str, function: Callable[[], Iterable[Any]], own: frozenset[str]) -> list[tuple[str, Any]]:
    found = [(CHECKS[hook](item), item) for item in speaking_to_stderr(lambda: list(function()))]
    taken = [name for name, _ in found if name in own]
    if taken:
        raise PluginError(f"{taken[0]!r} is a name of tleg itself; choose another")
    return found


def survey(commands: Iterable[str] = ()) -> tuple[PluginReport, ...]:
    """Every plugin with what it gives, hook by hook, and everything that is wrong with it. commands: tleg's own."""
    return tuple(_surveyed(report, frozenset(commands)) for report in load()[1])


def _surveyed(report: PluginReport, commands: frozenset[str]) -> PluginReport:
    hooks, wrong = {}, [report.error] if report.error else []
    for hook in report.hooks:
        found = offers(hook, commands if hook == "tleg_commands" else frozenset())
        hooks[hook] = tuple(name for name, owners in found.owners.items() if report.name in owners)
        wrong += [clash for name in hooks[hook] if (clash := found.clash(name))]
        wrong += [found.errors[report.name]] if report.name in found.errors else []
    return replace(report, hooks=hooks, error="; ".join(wrong) or None)


def failures(hook: str, own: Iterable[str] = ()) -> str:
    """` Plugin x: reason.` for every plugin that may have had a name but could not be used; or nothing."""
    broken = {report.name: report.error for report in load()[1] if report.error} | dict(
        offers(hook, frozenset(own)).errors
    )
    return "".join(f" Plugin {name} can't be used: {reason}." for name, reason in broken.items())


def backbones() -> dict[str, Backbone]:
    """Every registered backbone by its name, but those that two plugins claim."""
    return dict(offers("tleg_backbones").items)


def get_backbone(name: str) -> Backbone:
    """The backbone called `name`. Raises PluginError if two claim it, ConfigError with the plugins that failed if none has it."""
    backbone: Backbone | None = offers("tleg_backbones").get(name)
    if backbone is None:
        reasons = failures("tleg_backbones")
        raise ConfigError(f"backbone {name!r} is unknown.{did_you_mean(name, backbones())}{reasons}")
    return backbone


def bases() -> tuple[Any, ...]:
    """Every registered basis beside the built-in ones. Raises PluginError for a name that two claim."""
    found = offers("tleg_bases")
    return tuple(found.get(name) for name in found.owners)


def get_basis(name: str) -> Any:
    """The basis called `name`, built in or a plugin's. Raises ConfigError, with the plugins that failed, if nobody has it."""
    from tleg_cli.learngene.basis import get_basis as find

    try:
        return find(name, bases())
    except ConfigError as error:
        raise ConfigError(f"{error}{failures('tleg_bases')}") from None


def sources() -> dict[str, Callable[[str], Any]]:
    """Every registered data source: scheme -> open. Raises PluginError for a name that two claim."""
    found = offers("tleg_sources")
    return {scheme: found.get(scheme)[1] for scheme in found.owners}


def get_command(name: str, own: Iterable[str] = ()) -> Any:
    """The Typer app of the command `tleg name`, None if no plugin has it. Raises PluginError if two claim it.

    own: the names of tleg's own commands.
    """
    pair = offers("tleg_commands", frozenset(own)).get(name)
    return None if pair is None else pair[1]


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
