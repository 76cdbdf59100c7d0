"""The extension API on one screen. A plugin is a module with functions of these names, marked by `hookimpl`.

    from tleg_cli.api import Backbone, hookimpl

    @hookimpl
    def tleg_backbones():
        return [Backbone(name="my_vit", timm_name="my_vit", stages=("blocks",))]

Publish it under the entry point group `tleg`, and `tleg plugins` lists it. Built-in backbones come in the same way.
docs/plugins.md has a complete plugin for each hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from tleg_cli.declarations import Rules, check_fields, is_name
from tleg_cli.errors import PluginError
from tleg_cli.initialiser import SEPARATE, Initialiser, Mixing  # noqa: F401  # plugins may import all declarations from here

if TYPE_CHECKING:
    import typer
    from PIL.Image import Image

    from tleg_cli.learngene.basis import Basis

hookspec = pluggy.HookspecMarker("tleg")
hookimpl = pluggy.HookimplMarker("tleg")

API_VERSION = 1  # a plugin may state the version it was written for (TLEG_API = 1); a higher one than this is refused


@dataclass(frozen=True)
class BlockLayout:
    """Which layers of a block have equivalent weights, so that `--align` may exchange them (docs/adopt.md).

    mlp: the linear layers before and after the hidden units, with a function of each single unit between them.
    attention: the linear layer of queries, keys and values in one, and the one after the heads. The module that holds the
    first has `num_heads`; heads differ in nothing else.
    norms: (norm, linear layer) pairs; the layer alone reads the norm's output.
    """

    mlp: tuple[str, str] | None = None
    attention: tuple[str, str] | None = None
    norms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Backbone:
    """A family of networks that differ only in depth: `timm.create_model(timm_name, **arguments, depth=...)`.

    stages: the dotted name of each list of equal blocks; ("blocks",) in a ViT, one per stage in a Swin.
    depth_argument: the keyword that takes the depth, an int for one stage, a tuple for several.
    usual_depth: blocks of each stage unless a depth is given.
    arguments: keyword arguments that are always passed. options: those a preset may set, with their defaults.
    head: the names that belong to the classifier, which is reused only for the same classes.
    branch_ends: the weights of a block that end its residual branches, bias included, or only the layer scale where there is one:
    scaled by s, what the block adds to its input is scaled by s. Needed for the residual step, and checked on the network.
    layout: which weights of a block have equivalents, needed for `--align` and checked on the network; None: it isn't offered.

    A new network is registered with timm (`timm.models.register_model`) when its plugin is imported.
    Raises PluginError for a field that can't be what it says.
    """

    name: str
    timm_name: str
    stages: tuple[str, ...] = ("blocks",)
    depth_argument: str = "depth"
    usual_depth: tuple[int, ...] = (12,)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    head: tuple[str, ...] = ("head",)
    branch_ends: tuple[str, ...] = ()
    layout: BlockLayout | None = None

    def __post_init__(self) -> None:
        _check_backbone(self)


class Split(Protocol):
    """A map-style split. `split[i]` is an RGB image and its label; it raises DataError that names what can't be read."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image, int]: ...


@dataclass(frozen=True)
class Source:
    """A named data set. `train` and `val` open a split; that may take a while, so it happens only when the split is needed.

    in_memory: reading an image costs nothing, and worker processes would only slow it down.
    """

    name: str
    classes: tuple[str, ...]
    train: Callable[[], Split]
    val: Callable[[], Split]
    in_memory: bool = False

    def split(self, name: str) -> Split:
        """The split called `train` or `val`."""
        return self.train() if name == "train" else self.val()


class Tracker(Protocol):
    """Records a training somewhere in addition to metrics.jsonl, on rank 0."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name, as in `loss` or `top1/depth 12`, after a step (from 1)."""
        ...

    def close(self) -> None:
        """The training ends or is stopped."""
        ...


# (run folder, configuration as plain values, step at which the training begins or continues) -> the tracker
OpenTracker = Callable[[Path, Mapping[str, Any], int], Tracker]


class Hooks:
    """What a plugin may define. Every hook returns a list; tleg calls it once, when the first name is looked up."""

    @hookspec
    def tleg_backbones(self) -> Iterable[Backbone]:
        """Backbones to register by name."""
        raise NotImplementedError

    @hookspec
    def tleg_bases(self) -> Iterable[Basis]:
        """Bases to register by name, in addition to linear, constant, polynomial:N, piecewise:N, hat:N and cosine:N."""
        raise NotImplementedError

    @hookspec
    def tleg_sources(self) -> Iterable[tuple[str, Callable[[str], Source]]]:
        """Data sources: (scheme, open). `--data scheme/rest` calls `open("rest")`."""
        raise NotImplementedError

    @hookspec
    def tleg_initialisers(self) -> Iterable[Initialiser]:
        """Ways to initialise networks of several depths, for `tleg lab`."""
        raise NotImplementedError

    @hookspec
    def tleg_trackers(self) -> Iterable[tuple[str, Callable[[], OpenTracker]]]:
        """Trackers of trainings: (name, load). `load()` imports what the tracker needs, and raises ConfigError if that is missing."""
        raise NotImplementedError

    @hookspec
    def tleg_commands(self) -> Iterable[tuple[str, typer.Typer]]:
        """Commands: (name, Typer app), run as `tleg name ...`."""
        raise NotImplementedError


def check_version(plugin: Any) -> None:
    """Raises PluginError for a plugin whose `TLEG_API` is a hook version that this tleg doesn't have."""
    wanted = getattr(plugin, "TLEG_API", API_VERSION)
    if type(wanted) is not int or wanted < 1:
        raise PluginError(
            f"its TLEG_API is {wanted!r}; write the hook version it was made for, currently {API_VERSION}"
        )
    if wanted > API_VERSION:
        raise PluginError(f"it was written for hook version {wanted}, but this tleg has {API_VERSION}: update tleg")


def _are_places(value: Any) -> bool:
    """A tuple of different dotted names, none inside another."""
    if not isinstance(value, tuple) or not value or not all(isinstance(place, str) and place for place in value):
        return False
    inside = any(one != other and f"{other}.".startswith(f"{one}.") for one in value for other in value)
    return not inside and len(set(value)) == len(value)


def _are_depths(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(number) is int and number >= 1 for number in value)


def _are_keywords(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in value)


_BACKBONE_RULES: Rules = {
    "name": ("a name without spaces, as in 'my_vit'", is_name),
    "timm_name": ("the name that timm.create_model takes", lambda value: isinstance(value, str) and bool(value)),
    "stages": ("a tuple of different places, as in ('blocks',)", _are_places),
    "depth_argument": ("a keyword, as in 'depth'", lambda value: isinstance(value, str) and value.isidentifier()),
    "usual_depth": ("a tuple of integers from 1, as in (12,)", _are_depths),
    "arguments": ("a dict of keyword arguments", _are_keywords),
    "options": ("a dict of keyword arguments with their defaults", _are_keywords),
    "head": ("a tuple of names, as in ('head',)", lambda value: value == () or _are_places(value)),
    "branch_ends": (
        "a tuple of weights of a block, as in ('attn.proj.weight',)",
        lambda value: value == () or _are_places(value),
    ),
    "layout": ("a BlockLayout, or None", lambda value: value is None or isinstance(value, BlockLayout)),
}


def _check_backbone(backbone: Backbone) -> None:
    check_fields("backbone", backbone, _BACKBONE_RULES)
    depths, stages = len(backbone.usual_depth), len(backbone.stages)
    if depths != stages:
        raise PluginError(f"usual_depth of backbone {backbone.name!r} has {depths} values for {stages} stages")
    given = {*backbone.arguments, *backbone.options}
    twice = {*backbone.arguments} & {*backbone.options} or given & {backbone.depth_argument, "num_classes"}
    if twice:
        raise PluginError(
            f"backbone {backbone.name!r} sets {min(twice)!r} twice; tleg itself passes the depth and the classes"
        )
