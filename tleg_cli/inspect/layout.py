"""What a weights file is, from its header alone: learngene, descendant, teacher, checkpoint; its stacks, its layers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tleg_cli.learngene.depths import MAX_DEPTH
from tleg_cli.weights.header import LEARNGENE_FORMAT, Header, TensorInfo
from tleg_cli.weights.stacks import Stack, find_stacks

_REFERENCE = re.compile(
    r"(?P<stage>blocks)\.block\.(?P<module>.+)\.instances\.0\.(?P<kind>weight|bias)_(?P<part>base|ilayer)"
)
_FLOW = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index", "attn_mask")


@dataclass(frozen=True)
class Row:
    """One tensor as it is shown. keys: where its values are in the file; index: which slice of that, None for all.

    stack: the stack it belongs to, None for what every depth shares. layer: the number of its block, in a network.
    part: theta_B, theta_A or theta_k, in a learngene.
    """

    name: str
    key: str
    index: int | None
    info: TensorInfo
    stack: str | None
    module: str
    layer: int | None
    part: str | None

    @property
    def is_parameter(self) -> bool:
        """By kind and name: a state dict doesn't say which of its tensors are trained."""
        return self.info.floating and self.name.rpartition(".")[2] not in _BUFFERS


@dataclass(frozen=True)
class FileLayout:
    """A file by its header. depth: blocks of each stage, of the aux net if it is a learngene. basis: of a learngene."""

    path: Path
    kind: str  # learngene, reference, descendant, teacher, checkpoint
    header: Header
    rows: Sequence[Row]
    stacks: Sequence[Stack]
    stages: Sequence[str]
    depth: tuple[int, ...]
    basis: str | None
    facts: Mapping[str, Any]  # backbone, classes, image_size, provenance: what the file says

    @property
    def is_learngene(self) -> bool:
        return self.basis is not None


def layout_of(path: Path, header: Header) -> FileLayout:
    """Never fails for a readable file: what isn't understood is a checkpoint of loose tensors."""
    if header.tleg.get("format") == LEARNGENE_FORMAT:
        return _learngene(path, header)
    if any(_REFERENCE.fullmatch(name) for name in header.tensors):
        return _reference(path, header)
    return _network(path, header)


def part_names(basis: str, rank: int) -> list[str]:
    """The paper's names for the linear basis, numbers for others."""
    return ["theta_B", "theta_A"] if basis == "linear" else [f"theta_{k}" for k in range(rank)]


def _learngene(path: Path, header: Header) -> FileLayout:
    basis = str(header.tleg.get("basis"))
    metadata = header.tleg.get("metadata")
    facts = metadata if isinstance(metadata, dict) else {}
    rows: list[Row] = []
    stacks: list[Stack] = []
    for key, info in header.tensors.items():
        part, _, name = key.partition("/")
        if part != "theta" or not info.shape:
            rows.append(_shared(name or key, key, info))
            continue
        stack = Stack(name, name.partition(".*.")[0], (key,), (), info.shape[1:])
        stacks.append(stack)
        one = TensorInfo(info.shape[1:], info.dtype)
        for index, label in enumerate(part_names(basis, info.shape[0])):
            rows.append(Row(f"{name} {label}", key, index, one, name, stack.module, None, label))
    stages = tuple(dict.fromkeys(stack.stage for stack in stacks))
    return FileLayout(path, "learngene", header, rows, in_order(stacks), stages, _depth(facts, stages), basis, facts)


def _depth(facts: Mapping[str, Any], stages: Collection[str]) -> tuple[int, ...]:
    """What the file says, unless it can't be: a header is anybody's claim until the learngene is read."""
    claimed = facts.get("depth")
    if not isinstance(claimed, list) or len(claimed) != len(stages):
        return ()
    return tuple(claimed) if all(isinstance(blocks, int) and 0 < blocks <= MAX_DEPTH for blocks in claimed) else ()


def _reference(path: Path, header: Header) -> FileLayout:
    """A checkpoint of the reference code: theta_B is called base there, theta_A ilayer."""
    rows: list[Row] = []
    stacks: dict[str, Stack] = {}
    for key, info in header.tensors.items():
        match = _REFERENCE.fullmatch(key)
        if match is None:
            rows.append(_shared(key, key, info))
            continue
        name = f"{match['stage']}.*.{match['module']}.{match['kind']}"
        label = "theta_B" if match["part"] == "base" else "theta_A"
        old = stacks.get(name)
        members = tuple(sorted((*(old.members if old else ()), key)))  # ..._base before ..._ilayer
        stacks[name] = Stack(name, match["stage"], members, (), info.shape)
        rows.append(Row(f"{name} {label}", key, None, info, name, match["module"], None, label))
    return FileLayout(path, "reference", header, rows, in_order(stacks.values()), ("blocks",), (), "linear", {})


def _network(path: Path, header: Header) -> FileLayout:
    names = sorted(header.tensors, key=_natural) if header.container == "safetensors" else list(header.tensors)
    stacks = find_stacks({name: header.tensors[name].shape for name in names})
    place = {
        member: (stack, layer) for stack in stacks for member, layer in zip(stack.members, stack.layers, strict=True)
    }
    rows = []
    for name in names:
        info = header.tensors[name]
        if name in place:
            stack, layer = place[name]
            rows.append(Row(name, name, None, info, stack.name, stack.module, layer, None))
        else:
            rows.append(_shared(name, name, info))
    stages = list(dict.fromkeys(stack.stage for stack in stacks))
    depth = tuple(next(len(stack.layers) for stack in stacks if stack.stage == stage) for stage in stages)
    kind = header.tleg.get("kind") if header.tleg.get("format") == "tleg-model" else None
    facts = dict(header.tleg) if kind else {}
    provenance = facts.get("provenance")
    facts["backbone"] = provenance.get("backbone") if isinstance(provenance, dict) else None
    return FileLayout(path, str(kind or "checkpoint"), header, rows, in_order(stacks), stages, depth, None, facts)


def in_order(stacks: Collection[Stack]) -> list[Stack]:
    """As data flows through a ViT's block, by stage; what a ViT doesn't have follows in the file's order."""
    stages = list(dict.fromkeys(stack.stage for stack in stacks))
    known = {module: index for index, module in enumerate(_FLOW)}
    return sorted(
        stacks,
        key=lambda stack: (
            stages.index(stack.stage),
            known.get(stack.module, len(known)),
            known.get(stack.module) is not None and not stack.name.endswith("weight"),
        ),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """blocks.2 before blocks.10: safetensors files are in alphabetical order."""
    return [(int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in name.split(".")]


def _shared(name: str, key: str, info: TensorInfo) -> Row:
    return Row(name, key, None, info, None, name.rpartition(".")[0] or name, None, None)
