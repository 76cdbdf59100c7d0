"""`tleg inspect --against`: what training changed, tensor by tensor, here against there.

A learngene is compared as the network of the other side's depth, so a descendant is compared with what it started from.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tleg_cli import plugin_manager
from tleg_cli.inspect.linearity import finite
from tleg_cli.inspect.measure import slice_of
from tleg_cli.inspect.subject import Row, Subject, part_names, subject_of
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.depths import Depth, complete_depth, format_depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.learngene.gram import Gram, gram, projection
from tleg_cli.learngene.reference import FREE, read_reference
from tleg_cli.weights.open import Get, open_weights


@dataclass(frozen=True)
class Change:
    """Sums over the numbers of one tensor or of many. changed: of (here - there)^2."""

    changed: float = 0.0
    here: float = 0.0
    there: float = 0.0
    product: float = 0.0

    def __add__(self, other: Change) -> Change:
        return Change(
            self.changed + other.changed,
            self.here + other.here,
            self.there + other.there,
            self.product + other.product,
        )

    def as_dict(self) -> dict[str, float | None]:
        """drift: |here - there| / |there|. cosine: of the angle between them. None where there is nothing to divide by."""
        return {
            "drift": finite((self.changed / self.there) ** 0.5) if self.there > 0 else None,
            "cosine": finite(self.product / (self.here * self.there) ** 0.5) if self.here * self.there > 0 else None,
            "change": finite(self.changed**0.5),
        }


def drift(here: Path, there: Path) -> dict[str, Any]:
    """The `against` part of the document.

    Raises FileFormatError for a file that can't be read, ConfigError for depths that don't go together.
    """
    with open_side(here) as one, open_side(there) as other:
        depth = one.network_depth() or other.network_depth()
        ours, theirs = one.entries(depth), other.entries(depth)
        both = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
        reshaped = [name for name in ours if name in theirs and ours[name].shape != theirs[name].shape]
        changes, grams = _changes([ours[name] for name in both], theirs)
        basis = one.basis() or other.basis() or get_basis("linear")
        return {
            "file": str(there),
            "kind": other.subject.kind,
            "depth": format_depth(depth) if depth else None,
            "basis": basis.name,
            "tensors": [
                {"name": name, "module": ours[name].module, "layer": ours[name].layer, "stack": ours[name].stack}
                | changes[name].as_dict()
                for name in both
            ],
            "modules": _modules([ours[name] for name in both], changes, grams, basis),
            "overall": {**_sum(changes.values()).as_dict(), **_in_basis(grams.values(), basis)},
            "missing": [name for name in theirs if name not in ours],
            "added": [name for name in ours if name not in theirs],
            "reshaped": [
                {"name": name, "here": list(ours[name].shape), "there": list(theirs[name].shape)} for name in reshaped
            ],
        }


def _changes(entries: Sequence[Entry], theirs: Mapping[str, Entry]) -> tuple[dict[str, Change], dict[str, Gram]]:
    """One stack after the other in memory; a stack's Gram is that of its change, layer by layer."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.stack or entry.name].append(entry)
    changes: dict[str, Change] = {}
    grams: dict[str, Gram] = {}
    for name, group in groups.items():
        moved = []
        for entry in group:
            here, there = _flat(entry.fetch()), _flat(theirs[entry.name].fetch())
            moved.append((here - there).float())
            changes[entry.name] = Change(
                float((here - there).square().sum()), float(here @ here), float(there @ there), float(here @ there)
            )
        if group[0].layer is not None and len(group) > 1 and all(one.isfinite().all() for one in moved):
            grams[name] = gram(moved)
    return changes, grams


def _flat(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.detach().reshape(-1).double()


def _modules(
    entries: Iterable[Entry], changes: Mapping[str, Change], grams: Mapping[str, Gram], basis: Basis
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.stage, entry.module].append(entry)
    rows = []
    for (stage, module), group in groups.items():
        stacks = {entry.stack for entry in group if entry.stack}
        total = _sum(changes[entry.name] for entry in group).as_dict()
        own = [grams[stack] for stack in sorted(stacks) if stack in grams]
        rows.append({"stage": stage, "module": module, **total, **_in_basis(own, basis)})
    return rows


def _sum(changes: Iterable[Change]) -> Change:
    total = Change()
    for change in changes:
        total += change
    return total


def _in_basis(grams: Iterable[Gram], basis: Basis) -> dict[str, float | None]:
    """The share of the squared change that another theta could have made, tr(P D D^T) / tr(D D^T), and what chance gives."""
    inside = whole = random = 0.0
    for one in grams:
        products, into = one.products(), projection(basis.matrix(one.layers))
        total = float(products.diagonal().sum())
        inside += float((into * products).sum())
        whole += total
        random += total * float(into.diagonal().sum()) / one.layers
    return (
        {"in_basis": finite(inside / whole), "random": random / whole} if whole else {"in_basis": None, "random": None}
    )


@dataclass(frozen=True)
class Entry:
    """One tensor, not read yet. stage, stack and layer: "", None and None for what every depth shares."""

    name: str
    stage: str
    stack: str | None
    module: str
    layer: int | None
    shape: tuple[int, ...]
    fetch: Callable[[], Tensor]


@dataclass(frozen=True)
class Opened:
    """A file by its header, and how its tensors are read."""

    subject: Subject
    get: Get

    def network_depth(self) -> Depth | None:
        """None for a learngene, and for a network without blocks."""
        return None if self.subject.is_learngene else self.subject.depth or None

    def basis(self) -> Basis | None:
        """Of a learngene."""
        return get_basis(self.subject.basis, plugin_manager.bases()) if self.subject.basis else None

    def entries(self, depth: Depth | None) -> Mapping[str, Entry]:
        """By name. A learngene's are those of its network of this depth, or its thetas where there is no depth.

        Raises FileFormatError for a learngene that is none, ConfigError for a depth with other stages than it has.
        """
        if not self.subject.is_learngene:
            return {row.name: _entry(row, self.get) for row in self.subject.rows}
        path = self.subject.path
        reference = self.subject.kind == "reference"
        # its weights are the same whatever the number of heads, which the file doesn't say
        learngene = read_reference(path, FREE, heads=1) if reference else read_learngene(path, plugin_manager.bases())
        return {entry.name: entry for entry in (_thetas(learngene) if depth is None else _grown(learngene, depth))}


@contextlib.contextmanager
def open_side(path: Path) -> Iterator[Opened]:
    """Raises FileFormatError for a file that can't be read."""
    with open_weights(path) as (header, get):
        yield Opened(subject_of(path, header), get)


def _entry(row: Row, get: Get) -> Entry:
    stage = (row.stack or "").partition(".*.")[0]
    return Entry(row.name, stage, row.stack, row.module, row.layer, row.info.shape, lambda: slice_of(get, row))


def _thetas(learngene: Learngene) -> Iterator[Entry]:
    for name, theta in learngene.theta.items():
        stage, module = _place(name)
        for part, label in zip(theta, part_names(learngene.basis.name, len(theta)), strict=True):
            yield Entry(f"{name} {label}", stage, name, module, None, tuple(part.shape), lambda part=part: part)  # type: ignore[misc]
    yield from _shared(learngene)


def _grown(learngene: Learngene, depth: Depth) -> Iterator[Entry]:
    """Through expand(), and one stack at a time: the complete network is never in memory."""
    full = complete_depth(depth, learngene.metadata.depth, learngene.metadata.backbone)

    @functools.lru_cache(maxsize=1)
    def grow(name: str) -> Mapping[str, Tensor]:
        return expand(replace(learngene, theta={name: learngene.theta[name]}, shared={}), full)

    for name, theta in learngene.theta.items():
        stage, module = _place(name)
        for block in range(full[learngene.stages.index(stage)]):
            own = name.replace("*", str(block), 1)
            shape = tuple(theta.shape[1:])
            yield Entry(own, stage, name, module, block, shape, lambda name=name, own=own: grow(name)[own])  # type: ignore[misc]
    yield from _shared(learngene)


def _shared(learngene: Learngene) -> Iterator[Entry]:
    for name, tensor in learngene.shared.items():
        module = name.rpartition(".")[0] or name
        yield Entry(name, "", None, module, None, tuple(tensor.shape), lambda tensor=tensor: tensor)  # type: ignore[misc]


def _place(name: str) -> tuple[str, str]:
    """`blocks.*.attn.qkv.weight` -> its stage `blocks`, its module `attn.qkv`."""
    stage, _, rest = name.partition(".*.")
    return stage, rest.rpartition(".")[0] or "block"
