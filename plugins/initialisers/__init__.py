"""Ways to initialise networks of several depths: one file each, named after the method. docs/lab.md compares them."""

from collections.abc import Iterable
from importlib import import_module

from tleg_cli.api import Initialiser, hookimpl

FILES = (
    "scratch",
    "distilled",
    "tleg",
    "any_depth",
    "shared_block",
    "first_blocks",
    "every_nth",
    "most_important",
    "last_blocks",
    "stacking",
    "ligo",
    "sws",
    "cosines",
    "least_squares",
    "adopt",
)


@hookimpl
def tleg_initialisers() -> Iterable[Initialiser]:
    """The METHODS of every file."""
    for name in FILES:
        yield from import_module(f"{__name__}.{name}").METHODS
