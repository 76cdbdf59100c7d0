"""`tleg inspect --against`: what training changed, tensor by tensor, here against there.

A learngene is compared as the network of the other side's depth, so a descendant is compared with what it started from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tleg_cli.inspect.document import Against
from tleg_cli.inspect.linearity import finite
from tleg_cli.inspect.network_tensors import NetworkTensor, open_file
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.gram import Gram, gram, projection


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


def drift(here: Path, there: Path, weights: str = "auto") -> Against:
    """The `against` part of the document. weights: auto, raw or ema, of `here`; of `there`, raw only if that is asked for.

    Raises FileFormatError for a file that can't be read, ConfigError for depths that don't go together.
    """
    with open_file(here, weights) as one, open_file(there, "raw" if weights == "raw" else "auto") as other:
        depth = one.network_depth() or other.network_depth()
        ours, theirs = one.entries(depth), other.entries(depth)
        both = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
        reshaped = [name for name in ours if name in theirs and ours[name].shape != theirs[name].shape]
        changes, grams = _changes([ours[name] for name in both], theirs)
        basis = one.basis() or other.basis() or get_basis("linear")
        return {
            "file": str(there),
            "kind": other.layout.kind,
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


def _changes(
    entries: Sequence[NetworkTensor], theirs: Mapping[str, NetworkTensor]
) -> tuple[dict[str, Change], dict[str, Gram]]:
    """One stack after the other in memory; a stack's Gram is that of its change, layer by layer."""
    groups: dict[str, list[NetworkTensor]] = defaultdict(list)
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
    entries: Iterable[NetworkTensor], changes: Mapping[str, Change], grams: Mapping[str, Gram], basis: Basis
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[NetworkTensor]] = defaultdict(list)
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
