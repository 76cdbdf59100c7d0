"""The tensors of a file for a comparison: a network's own, or those that a learngene expands to at some depth. Read one by one."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from tleg_cli import plugin_manager
from tleg_cli.inspect.layout import FileLayout, Row, layout_of, part_names
from tleg_cli.inspect.measure import slice_of
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.depths import Depth, complete_depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.learngene.reference import FREE, read_reference
from tleg_cli.weights.open import Get, open_weights


@dataclass(frozen=True)
class NetworkTensor:
    """One tensor, not read yet. stage, stack and layer: "", None and None for what every depth shares."""

    name: str
    stage: str
    stack: str | None
    module: str
    layer: int | None
    shape: tuple[int, ...]
    fetch: Callable[[], Tensor]


@dataclass(frozen=True)
class OpenedFile:
    """A file by its header, and how its tensors are read."""

    layout: FileLayout
    get: Get

    def network_depth(self) -> Depth | None:
        """None for a learngene, and for a network without blocks."""
        return None if self.layout.is_learngene else self.layout.depth or None

    def basis(self) -> Basis | None:
        """Of a learngene."""
        return get_basis(self.layout.basis, plugin_manager.bases()) if self.layout.basis else None

    def entries(self, depth: Depth | None) -> Mapping[str, NetworkTensor]:
        """By name. A learngene's are those of its network of this depth, or its thetas if it has no depth.

        Raises FileFormatError for a learngene that is none, ConfigError for a depth with other stages than it has.
        """
        if not self.layout.is_learngene:
            return {row.name: _entry(row, self.get) for row in self.layout.rows}
        path = self.layout.path
        reference = self.layout.kind == "reference"
        # its weights are the same whatever the number of heads, which the file doesn't say
        learngene = read_reference(path, FREE, heads=1) if reference else read_learngene(path, plugin_manager.bases())
        return {entry.name: entry for entry in (_thetas(learngene) if depth is None else _grown(learngene, depth))}


@contextlib.contextmanager
def open_file(path: Path, which: str = "auto") -> Iterator[OpenedFile]:
    """Raises FileFormatError for a file that can't be read."""
    with open_weights(path, which) as (header, get):
        yield OpenedFile(layout_of(path, header), get)


def _entry(row: Row, get: Get) -> NetworkTensor:
    stage = (row.stack or "").partition(".*.")[0]
    return NetworkTensor(row.name, stage, row.stack, row.module, row.layer, row.info.shape, lambda: slice_of(get, row))


def _thetas(learngene: Learngene) -> Iterator[NetworkTensor]:
    for name, theta in learngene.theta.items():
        stage, module = _place(name)
        for part, label in zip(theta, part_names(learngene.basis.name, len(theta)), strict=True):
            yield NetworkTensor(f"{name} {label}", stage, name, module, None, tuple(part.shape), lambda part=part: part)  # type: ignore[misc]
    yield from _shared(learngene)


def _grown(learngene: Learngene, depth: Depth) -> Iterator[NetworkTensor]:
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
            yield NetworkTensor(own, stage, name, module, block, shape, lambda name=name, own=own: grow(name)[own])  # type: ignore[misc]
    yield from _shared(learngene)


def _shared(learngene: Learngene) -> Iterator[NetworkTensor]:
    for name, tensor in learngene.shared.items():
        module = name.rpartition(".")[0] or name
        yield NetworkTensor(name, "", None, module, None, tuple(tensor.shape), lambda tensor=tensor: tensor)  # type: ignore[misc]


def _place(name: str) -> tuple[str, str]:
    """`blocks.*.attn.qkv.weight` -> its stage `blocks`, its module `attn.qkv`."""
    stage, _, rest = name.partition(".*.")
    return stage, rest.rpartition(".")[0] or "block"
