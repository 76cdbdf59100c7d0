"""The extension API on one screen. A plugin is a module with functions of these names, marked by `hookimpl`.

    from tleg_cli.hookspecs import Backbone, hookimpl

    @hookimpl
    def tleg_backbones():
        return [Backbone(name="my_vit", timm_name="my_vit", stages=("blocks",))]

Publish it under the entry point group `tleg`, and `tleg plugins` lists it. Built-in backbones come in the same way.
docs/plugins.md has a whole plugin for each hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    import typer
    from PIL.Image import Image

    from tleg_cli.learngene.basis import Basis

hookspec = pluggy.HookspecMarker("tleg")
hookimpl = pluggy.HookimplMarker("tleg")

API_VERSION = 1  # a plugin may state the one it was written for: TLEG_API = 1; a higher one than this is refused


@dataclass(frozen=True)
class Backbone:
    """A family of networks that differ in depth only: `timm.create_model(timm_name, **arguments, depth=...)`.

    stages: the dotted place of each list of equal blocks; ("blocks",) in a ViT, one per stage in a Swin.
    depth_argument: the keyword that takes the depth, an int for one stage, a tuple for several.
    usual_depth: blocks of each stage, where nobody says otherwise.
    arguments: keyword arguments that are always passed. options: those a preset may set, with their defaults.
    head: the names that belong to the classifier, which is shared only between equal sets of classes.

    A network of one's own is registered with timm (`timm.models.register_model`) when its plugin is imported.
    """

    name: str
    timm_name: str
    stages: tuple[str, ...] = ("blocks",)
    depth_argument: str = "depth"
    usual_depth: tuple[int, ...] = (12,)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    head: tuple[str, ...] = ("head",)


class Split(Protocol):
    """A map-style split. `split[i]` is an RGB image and its label; it raises DataError, naming what can't be read."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image, int]: ...


@dataclass(frozen=True)
class Source:
    """A named data set. `train` and `val` open a split: that may take a while, so it is done where it is needed.

    in_memory: reading an image costs nothing, so that worker processes would only slow it down.
    """

    name: str
    classes: tuple[str, ...]
    train: Callable[[], Split]
    val: Callable[[], Split]
    in_memory: bool = False

    def split(self, name: str) -> Split:
        """The split called `train` or `val`."""
        return self.train() if name == "train" else self.val()


class Hooks:
    """What a plugin may define. Every hook returns a list; tleg calls it once, when the first name is looked up."""

    @hookspec
    def tleg_backbones(self) -> Iterable[Backbone]:
        """Backbones to register by name."""
        raise NotImplementedError

    @hookspec
    def tleg_bases(self) -> Iterable[Basis]:
        """Bases to register by name, beside linear, constant, polynomial:N, piecewise:N and hat:N."""
        raise NotImplementedError

    @hookspec
    def tleg_sources(self) -> Iterable[tuple[str, Callable[[str], Source]]]:
        """Data sources: (scheme, open). `--data scheme/rest` calls `open("rest")`."""
        raise NotImplementedError

    @hookspec
    def tleg_commands(self) -> Iterable[tuple[str, typer.Typer]]:
        """Commands: (name, Typer app), run as `tleg name ...`."""
        raise NotImplementedError
