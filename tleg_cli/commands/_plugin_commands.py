"""`tleg NAME ...` for commands that plugins bring; plugins are loaded for a name that isn't tleg's own, and never for --help."""

from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """tleg's commands, then those of plugins. A plugin that takes one of tleg's own names has none: `tleg plugins` tells."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, None (a usage error) if neither tleg nor a plugin has it."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None or ctx.resilient_parsing or cmd_name.startswith("-"):
            return built_in
        from tleg_cli import plugin_manager

        app = plugin_manager.get_command(cmd_name, self.commands)
        if app is not None:
            return typer.main.get_command(app)
        reasons = plugin_manager.failures("tleg_commands", self.commands).strip()
        if reasons:  # one of them may have had it
            from tleg_cli.errors import printable

            typer.echo(printable(reasons), err=True)
        return None
