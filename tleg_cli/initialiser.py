"""A way to initialise networks of several depths, as plugins declare it for `tleg lab`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tleg_cli.declarations import Rules, check_fields, is_name
from tleg_cli.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

    from tleg_cli.learngene.depths import Depth
    from tleg_cli.learngene.gene import Learngene

TRAINED_AT = ("shallowest", "middle", "deepest", "all")
SEPARATE = "separate"  # a weight of its own for every block: a plain network


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
    grow, the network's weights are learned combinations of the source's blocks. ranked: the source's blocks are ranked by
    importance on training images first (basis `ranked:...`), which the share pays for; its network has to be that of one stage.
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
    ranked: bool = False

    def __post_init__(self) -> None:
        _check_initialiser(self)

    @property
    def has_source(self) -> bool:
        """Whether something is trained once for all depths."""
        return self.grow is not None or self.mixing is not None

    @property
    def cuts_a_network(self) -> bool:
        """Whether its source is the deepest network, trained by itself; a protocol may say that it is there already."""
        return self.has_source and (self.trained_at, self.basis) == ("deepest", SEPARATE)


_INITIALISER_RULES: Rules = {
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
        "a tuple of settings, as in ('expansion.step=repeats',)",
        lambda value: isinstance(value, tuple) and all(isinstance(one, str) and "=" in one for one in value),
    ),
    "share": ("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1),
    "teacher": ("True or False", lambda value: isinstance(value, bool)),
    "ranked": ("True or False", lambda value: isinstance(value, bool)),
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
    check_fields("initialiser", method, _INITIALISER_RULES)
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
    for word in ("then", "ranked"):
        if getattr(method, word) and not method.cuts_a_network:
            raise PluginError(
                f"initialiser {method.name!r} has {word}; only a separate network at the deepest depth can have it"
            )
