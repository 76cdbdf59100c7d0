"""`tleg inspect --html`: an inspection as one file that a browser shows without a network. Does not need torch."""

from __future__ import annotations

from pathlib import Path

from tleg_cli.files import write_text
from tleg_cli.inspect.document import Inspection
from tleg_cli.report.output import shown
from tleg_cli.report.page_template import fill, part
from tleg_cli.report.page_view import view


def write_page(document: Inspection, path: Path) -> None:
    """Writes `path` atomically. document: what inspect_files() gives, also without measured values.

    Names in a weights file can be any text: everything is escaped, and the page can neither load nor send anything.
    Raises TlegError if the file can't be written.
    """
    write_text(path, page(document))


def page(document: Inspection) -> str:
    """The page as text."""
    files = [view(file) for file in shown(document["files"])]
    return fill("inspect.html", files=files, style=part("inspect.css"), script=part("inspect.js"))
