"""Which tensors of a state dict are the layers of one stack: found by names and shapes, for any architecture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_ONE_LAYER = ("blocks", "layers")  # a place of this name with a single block is a stack of one


@dataclass(frozen=True)
class Stack:
    """One weight in all blocks of a stage: `blocks.*.attn.qkv.weight` and its names from the first block to the last."""

    name: str
    stage: str  # `blocks`, `layers.2.blocks`
    members: tuple[str, ...]
    layers: tuple[int, ...]  # the numbers in the names
    shape: tuple[int, ...]  # of one of them

    @property
    def module(self) -> str:
        """`attn.qkv`: where in the block the weight lies."""
        return self.name.removeprefix(f"{self.stage}.*.").rpartition(".")[0] or "block"


def find_stacks(shapes: Mapping[str, tuple[int, ...]], stages: Collection[str] | None = None) -> list[Stack]:
    """Every stack, in the order of the names. stages: look at these places only, and take them as they are.

    A place holds repeated blocks if its children are numbers and at least half of the tensors of each child are in all
    of them with the same shape: so `blocks.N.`, `layers.S.blocks.N.` or the equal blocks of a ResNet, and not the
    numbered parts of a Sequential. The outermost such place counts; a tensor that only some children have is not a layer.
    """
    found: list[Stack] = []
    taken: list[str] = []
    for place, children in sorted(_numbered(shapes).items(), key=lambda item: item[0].count(".")):
        if any(place.startswith(f"{outer}.") for outer in taken) or (stages is not None and place not in stages):
            continue
        common = _common(children)
        if stages is None and not _repeated(place, children, common):
            continue
        taken.append(place)
        numbers = tuple(sorted(children))
        found += [
            Stack(f"{place}.*.{rest}", place, tuple(f"{place}.{n}.{rest}" for n in numbers), numbers, shape)
            for rest, shape in common.items()
        ]
    order = {name: index for index, name in enumerate(shapes)}
    return sorted(found, key=lambda stack: order[stack.members[0]])


Children = Mapping[int, Mapping[str, tuple[int, ...]]]


def _numbered(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Children]:
    """place -> number -> rest of the name -> shape, for each number in each name."""
    places: dict[str, dict[int, dict[str, tuple[int, ...]]]] = defaultdict(lambda: defaultdict(dict))
    for name, shape in shapes.items():
        parts = name.split(".")
        for index, part in enumerate(parts[1:-1], 1):
            if part.isascii() and part.isdigit() and str(int(part)) == part:
                places[".".join(parts[:index])][int(part)][".".join(parts[index + 1 :])] = shape
    return {place: dict(children) for place, children in places.items()}


def _common(children: Children) -> dict[str, tuple[int, ...]]:
    first, *others = children.values()
    return {rest: shape for rest, shape in first.items() if all(other.get(rest) == shape for other in others)}


def _repeated(place: str, children: Children, common: Collection[str]) -> bool:
    if len(children) == 1:
        return place.rpartition(".")[2] in _ONE_LAYER
    if any(_is_stage(rest) for child in children.values() for rest in child):
        return False  # layers.S.blocks.N: stages may be equally wide, but they are not layers
    return bool(common) and all(2 * len(common) >= len(child) for child in children.values())


def _is_stage(rest: str) -> bool:
    first, _, others = rest.partition(".")
    return first in _ONE_LAYER and others.partition(".")[0].isdigit()
