"""The extension API on one screen. A plugin is a module with functions of these names, marked by `hookimpl`.

    from tleg_cli.api import Backbone, hookimpl

    @hookimpl
    def tleg_backbones():
        return [Backbone(name="my_vit", timm_name="my_vit", stages=("blocks",))]

Publish it under the entry point group `tleg`, and `tleg plugins` lists it. Built-in backbones come in the same way.
docs/plugins.md has a complete plugin for each hook.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from tleg_cli.errors import PluginError

if TYPE_CHECKING:
    import typer
    from PIL.Image import Image
    from torch import Tensor

    from tleg_cli.learngene.basis import Basis
    from tleg_cli.learngene.depths import Depth
    from tleg_cli.learngene.gene import Learngene

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


TRAINED_AT = ("shallowest", "middle", "deepest", "all")
SEPARATE = "separate"  # a weight of its own for every block: a plain network


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


@dataclass(frozen=True)
class Mixing:
    """A first training of each network in which its blocks stay combinations of the source's blocks, and only the coefficients are
    trained, one for each weight of a block.

    rows: (blocks, trained blocks) of a stage -> the matrix (blocks, trained blocks) of the coefficients at the start. share: of each
    network's own budget. settings: further ones of this training, as `tleg train-aux --set` takes them.
    """

    rows: Callable[[int, int], Tensor]
    share: float
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Initialiser:
    """One way to initialise networks of several depths, as `tleg lab` compares them. about: one line. paper: a link.

    grow: (source, depth) -> the weights of a network of this depth, by their names in its state dict. source: what was trained
    once for all depths; depth: blocks of each stage. None: without a source, every network starts fresh.
    trained_at: the depth of the source: one of the family's, "middle" (the geometric mean of shallowest and deepest), or "all",
    which draws a depth for every step. basis: of the source, or "separate": then shallower ones take
    evenly spaced blocks of the deepest. settings: further ones of its training, as
    `tleg train-aux --set` takes them. share: of the family's budget that the source gets, 1 if the networks are not trained
    afterwards. teacher: False for a method that learns from labels only. then: settings of a second training of the
    source, at all depths, which starts from the first one as `tleg adopt` does; each gets half of the share. mixing: in place of
    grow, the network's weights are learned combinations of the source's blocks.
    Raises PluginError for a field that can't be what it says.
    """

    name: str
    about: str
    paper: str = ""
    grow: Callable[[Learngene, Depth], Mapping[str, Tensor]] | None = None
    trained_at: str = "middle"
    basis: str = SEPARATE
    settings: tuple[str, ...] = ()
    share: float = 0.0
    teacher: bool = True
    then: tuple[str, ...] = ()
    mixing: Mixing | None = None

    def __post_init__(self) -> None:
        _check_initialiser(self)

    @property
    def has_source(self) -> bool:
        """Whether something is trained once for all depths."""
        return self.grow is not None or self.mixing is not None


class Hooks:
    """What a plugin may define. Every hook returns a list; tleg calls it once, when the first name is looked up."""

    @hookspec
    def tleg_backbones(self) -> Iterable[Backbone]:
        """Backbones to register by name."""
        raise NotImplementedError

    @hookspec
    def tleg_bases(self) -> Iterable[Basis]:
        """Bases to register by name, in addition to linear, constant, polynomial:N, piecewise:N and hat:N."""
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


def is_name(value: Any) -> bool:
    """Whether a value can be the name of a backbone, basis, source or command."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value) is not None


def shown(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


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


# field -> (the rule, whether a value keeps it)
_BACKBONE_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
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
    for field_name, (rule, holds) in _BACKBONE_RULES.items():
        value = getattr(backbone, field_name)
        if not holds(value):
            raise PluginError(f"{field_name} of backbone {backbone.name!r} is {shown(value)}; it must be {rule}")
    depths, stages = len(backbone.usual_depth), len(backbone.stages)
    if depths != stages:
        raise PluginError(f"usual_depth of backbone {backbone.name!r} has {depths} values for {stages} stages")
    given = {*backbone.arguments, *backbone.options}
    twice = {*backbone.arguments} & {*backbone.options} or given & {backbone.depth_argument, "num_classes"}
    if twice:
        raise PluginError(
            f"backbone {backbone.name!r} sets {min(twice)!r} twice; tleg itself passes the depth and the classes"
        )


_INITIALISER_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name without spaces, as in 'first-blocks'", is_name),
    "about": ("one line", lambda value: isinstance(value, str) and value.isprintable() and bool(value)),
    "paper": ("a link, or empty", lambda value: isinstance(value, str) and value.isprintable()),
    "grow": ("a function of (source, depth), or None", lambda value: value is None or callable(value)),
    "trained_at": (", ".join(TRAINED_AT), lambda value: value in TRAINED_AT),
    "basis": ("the name of a basis, or 'separate'", lambda value: isinstance(value, str) and bool(value)),
    "settings": (
        "a tuple of settings, as in ('aux.drop_path=0.1',)",
        lambda value: isinstance(value, tuple) and all(isinstance(one, str) and "=" in one for one in value),
    ),
    "then": (
        "a tuple of settings, as in ('expansion.step=deeper',)",
        lambda value: isinstance(value, tuple) and all(isinstance(one, str) and "=" in one for one in value),
    ),
    "share": ("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1),
    "teacher": ("True or False", lambda value: isinstance(value, bool)),
    "mixing": (
        "a Mixing with a function rows and a share above 0 and below 1, or None",
        lambda value: (
            value is None
            or (
                isinstance(value, Mixing)
                and callable(value.rows)
                and type(value.share) in (int, float)
                and 0 < value.share < 1
                and all(isinstance(one, str) and "=" in one for one in value.settings)
            )
        ),
    ),
}


def _check_initialiser(method: Initialiser) -> None:
    for field_name, (rule, holds) in _INITIALISER_RULES.items():
        value = getattr(method, field_name)
        if not holds(value):
            raise PluginError(f"{field_name} of initialiser {shown(method.name)} is {shown(value)}; it must be {rule}")
    if method.grow is not None and method.mixing is not None:
        raise PluginError(f"initialiser {method.name!r} has grow and mixing; one of them gives the networks' weights")
    if method.has_source != (method.share > 0):
        raise PluginError(
            f"initialiser {method.name!r} has share {method.share:g}; it must be above 0 with grow or mixing, and 0 without"
        )
    if method.mixing is not None and (method.basis != SEPARATE or method.share == 1):
        raise PluginError(
            f"initialiser {method.name!r} has mixing; its source must have separate blocks, and its share be below 1"
        )
    if method.then and (method.trained_at, method.basis) != ("deepest", SEPARATE):
        raise PluginError(
            f"initialiser {method.name!r} has then; only a separate network at the deepest depth can go on"
        )
