"""Pages of one file, for a browser without a network: templates of this folder, filled with text that stays text."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2

from tleg_cli import __version__

_FOLDER = resources.files("tleg_cli.report")


def fill(template: str, **values: Any) -> str:
    """The page. Names of any kind are escaped; a value that the template needs and that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values, version=__version__)


def part(name: str) -> str:
    """A file of this folder: a template, a style sheet or a script."""
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")
