"""`tleg inspect --html`: an inspection as one file that a browser shows without a network. Does not need torch."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jinja2

from tleg_cli import __version__
from tleg_cli.files import write_text
from tleg_cli.inspect.document import Inspection
from tleg_cli.report.output import shown
from tleg_cli.report.page_view import view

_FOLDER = resources.files("tleg_cli.report")


def write_page(document: Inspection, path: Path) -> None:
    """Writes `path` atomically. document: what inspect_files() gives, also without measured values.

    Names in a weights file can be any text: everything is escaped, and the page can neither load nor send anything.
    Raises TlegError if the file can't be written.
    """
    write_text(path, page(document))


def page(document: Inspection) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = [view(file) for file in shown(document["files"])]
    return environment.get_template("inspect.html").render(
        files=files,
        version=__version__,
        style=_read("inspect.css"),
        script=_read("inspect.js"),
    )


def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")
