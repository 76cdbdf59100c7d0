"""One grammar of depths, everywhere: `6`, `3,6,9`, `3-12` (several descendants), `2:2:18:2` (one, its stages)."""

from __future__ import annotations

import itertools
import re

from tleg_cli.errors import ConfigError

Depth = tuple[int, ...]  # blocks of each stage; a plain ViT has one stage

MAX_DEPTH = 1000
MAX_DESCENDANTS = 1000
_GRAMMAR = "write 6, 3,6,9, 3-12 or, for backbones with stages, 2:2:18:2"


def parse_depths(text: str) -> list[Depth]:
    """Every depth that `text` names, in its order: `"3,6"` -> `[(3,), (6,)]`, `"2:2:4-6:2"` -> three of four stages.

    Raises ConfigError for anything else, a depth named twice included.
    """
    depths: list[Depth] = []
    for item in text.split(","):
        stages = [_parse_range(stage, text) for stage in item.split(":")]
        depths += itertools.islice(itertools.product(*stages), MAX_DESCENDANTS + 1)
    if len(depths) > MAX_DESCENDANTS:
        raise ConfigError(f"depths {text!r}: more than {MAX_DESCENDANTS} networks")
    twice = {depth for depth in depths if depths.count(depth) > 1}
    if twice:
        raise ConfigError(f"depths {text!r}: {format_depth(min(twice))} is there more than once")
    return depths


def _parse_range(item: str, text: str) -> list[int]:
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item.strip())
    if not match:
        what = f"{item.strip()!r} is not a depth" if item.strip() else "a depth is missing"
        raise ConfigError(f"depths {text!r}: {what}; {_GRAMMAR}")
    first = int(match[1])
    last = int(match[2] or first)
    if first < 1 or last > MAX_DEPTH:
        raise ConfigError(f"depths {text!r}: a depth is a number from 1 to {MAX_DEPTH}; {_GRAMMAR}")
    if last < first:
        raise ConfigError(f"depths {text!r}: {first}-{last} runs backwards; write {last}-{first}")
    return list(range(first, last + 1))


def format_depth(depth: Depth) -> str:
    """`(6,)` -> `"6"`, `(2, 2, 18, 2)` -> `"2:2:18:2"`: what parse_depths reads."""
    return ":".join(str(number) for number in depth)


def complete_depth(depth: Depth, usual: Depth, name: str, family: Depth | None = None) -> Depth:
    """`depth` with a number for every stage of `usual` (the depth that the learngene was trained at).

    A single number sets the deepest stage, the others keep theirs: `6` on `(2, 2, 18, 2)` is `(2, 2, 6, 2)`.
    family: the usual depth of the backbone, which says what its deepest stage is, whatever this learngene has there.
    Raises ConfigError for another number of stages, if no stage is deeper than the others, and for a stage of 0 blocks.
    """
    if min(depth, default=0) < 1:
        raise ConfigError(f"depth {format_depth(depth) or depth}: a stage has at least 1 block")
    if len(depth) == len(usual):
        return depth
    if len(depth) != 1:
        raise ConfigError(
            f"depth {format_depth(depth)} has {len(depth)} stages, but {name} has {len(usual)}; "
            f"write one number or {len(usual)} with colons, as in {format_depth(usual)}"
        )
    stages = usual if family is None else family
    if stages.count(max(stages)) > 1:
        raise ConfigError(
            f"depth {depth[0]}: {name} has stages of {format_depth(stages)} blocks, none deeper than the others; "
            f"write all {len(stages)} with colons, as in {format_depth(stages)}"
        )
    deepest = stages.index(max(stages))
    return (*usual[:deepest], depth[0], *usual[deepest + 1 :])
