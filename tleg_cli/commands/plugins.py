"""`tleg plugins`: which plugins are installed, what they provide, and why some can't be used."""

from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from tleg_cli.commands import _options as o

if TYPE_CHECKING:
    from tleg_cli.plugin_manager import PluginReport

_KINDS = {
    "tleg_backbones": "backbone",
    "tleg_bases": "basis",
    "tleg_sources": "source",
    "tleg_initialisers": "initialiser",
    "tleg_trackers": "tracker",
    "tleg_commands": "command",
}


def plugins(context: typer.Context, json: o.Json = False) -> None:
    """List the plugins: name, version, hooks, origin, and why one can't be used.

    TLEG_LOAD_PLUGINS=a,b loads only these of the installed plugins, TLEG_LOAD_PLUGINS= (empty) loads none.

    Example: tleg plugins --json
    """
    from tleg_cli.hookspecs import API_VERSION
    from tleg_cli.plugin_manager import survey
    from tleg_cli.report.output import print_json

    own: Collection[str] = getattr(context.parent and context.parent.command, "commands", ())
    reports = survey(own)
    if json:
        print_json({"hook_version": API_VERSION, "plugins": [asdict(report) for report in reports]})
    else:
        _print(reports)


def _print(reports: "Collection[PluginReport]") -> None:
    from tleg_cli.report.output import print_table

    rows = [[r.name, r.version, ", ".join(sorted(r.hooks)) or "-", r.source] for r in reports]
    print_table("plugins", ["name", "version", "hooks", "from"], rows)
    broken = [[r.name, r.error] for r in reports if r.error]
    if broken:
        typer.echo()
        print_table("plugins that can't be used", ["name", "reason"], broken)
    typer.echo()
    provided = [[name, _KINDS[hook], r.name] for r in reports for hook, names in r.hooks.items() for name in names]
    print_table("what they provide", ["name", "kind", "from"], sorted(provided, key=lambda row: (row[1], row[0])))
