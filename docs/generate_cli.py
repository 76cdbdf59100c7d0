"""Writes docs/cli.md from what `tleg COMMAND --help` prints: `make docs`, or `python docs/generate_cli.py`."""

from pathlib import Path

import typer

from tleg_cli.cli import COMMANDS, app

TARGET = Path(__file__).with_name("cli.md")
WIDTH = 110
HEAD = """# The command line

Written by `make docs` from `tleg COMMAND --help`; a test fails when it is out of date. `tleg COMMAND --help` shows the same.

Depths have one grammar everywhere: `6`, `3,6,9`, `3-12`, and `2:2:18:2` for a network with stages. Results go to stdout, progress to
stderr; `--json` gives one JSON object. Exit codes: 0 done, 1 something that you can fix (one line says what and how), 2 wrong usage,
75 stopped with a checkpoint written: run the same command again to go on.
"""


def reference() -> str:
    """The complete text of docs/cli.md."""
    root = typer.main.get_command(app)
    parent = typer.Context(root, info_name="tleg", **root.context_settings)
    sections = [HEAD, _contents()]
    for name in COMMANDS:
        command = root.get_command(parent, name)
        context = typer.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        sections.append(f"## tleg {name}\n\n```text\n{help_text}\n```\n")
    return "\n".join(sections)


def _contents() -> str:
    rows = (
        f"| [`tleg {name}`](#tleg-{name}) | {' '.join(str(function.__doc__).split(chr(10) * 2)[0].split())} |"
        for name, function in COMMANDS.items()
    )
    return "\n".join(["| command | what it does |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"{TARGET} written")
