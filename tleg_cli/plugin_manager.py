"""What plugins give, by name: backbones, bases, data sources, commands; a name that two claim is an error that names both.

A hook that returns nonsense takes nothing else down: the reason is in `tleg plugins` and in the error of who looks for its names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tleg_cli.errors import ConfigError, PluginError, did_you_mean
from tleg_cli.hookspecs import Backbone
from tleg_cli.plugin_checks import CHECKS
from tleg_cli.plugin_loading import LIMIT, PluginReport, load, reason_of, speaking_to_stderr

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
