"""`tleg presets`: the configs that are installed with tleg."""

from typing import Annotated

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.presets, help="Print this preset, to read it or to start your own config from it."
        ),
    ] = None,
    settings: o.Settings = None,
    json: o.Json = False,
) -> None:
    """List the presets, or print one. With --set or --json, the resolved config is printed.

    Example: tleg presets digits > mine.yaml
    """
    from tleg_cli.config_file import dump_yaml, load_config, preset_names, preset_text
    from tleg_cli.report.output import print_json, print_line, print_table

    if name is None:
        about = {known: preset_text(known).splitlines()[0].lstrip("# ") for known in preset_names()}
        if json:
            print_json(about)
        else:
            print_table("presets", ["name", "for"], [[known, text] for known, text in about.items()])
    elif json:
        print_json(load_config(name, settings or ()).model_dump(mode="json"))
    elif settings:
        typer.echo(dump_yaml(load_config(name, settings)), nl=False)
    else:
        for line in preset_text(name).splitlines():
            print_line(line)
