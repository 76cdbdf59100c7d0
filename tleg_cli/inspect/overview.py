"""What the header of a weights file alone says: one document of plain values, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tleg_cli.inspect.document import FileEntry, ParameterCounts, Produced, ProducedNetwork, TensorEntry
from tleg_cli.inspect.layout import FileLayout, Row
from tleg_cli.learngene.depths import complete_depth, format_depth, parse_depths
from tleg_cli.learngene.residual_step import NO_STEP

USUAL_DEPTHS = "3-12"  # the paper's family, unless others are asked for


@dataclass(frozen=True)
class InspectOptions:
    """What `tleg inspect` computes. bases: names, empty for the usual ones, None for sizes and shapes only.

    weights: auto, raw or ema, for checkpoints that have both.
    """

    depths: str | None = None
    bases: Sequence[str] | None = None
    against: Path | None = None
    weights: str = "auto"


def overview(layout: FileLayout, depths: str | None) -> FileEntry:
    """What the header alone says; the measured values of measure.py have the same places."""
    facts = layout.facts
    return {
        "file": str(layout.path),
        "kind": layout.kind,
        "container": layout.header.container,
        "bytes": layout.path.stat().st_size,
        "backbone": facts.get("backbone"),
        "basis": layout.basis,
        "expansion": _expansion(layout),
        "low_rank": {name.removeprefix("theta/"): list(one.ranks) for name, one in layout.header.factors.items()},
        "stages": list(layout.stages),
        "depth": format_depth(layout.depth) or None,
        "classes": facts.get("classes"),
        "image_size": facts.get("image_size"),
        "provenance": facts.get("provenance") or {},
        "beside": dict(layout.header.extra),
        "weights": {
            "set": layout.header.which,
            "available": list(layout.header.available),
            "note": layout.header.choice(),
        },
        "parameters": _parameters(layout),
        "dtypes": dict(Counter(row.info.dtype for row in layout.rows).most_common()),
        "produced": produced(layout, depths),
        "stacks": [
            {
                "name": stack.name,
                "stage": stack.stage,
                "module": stack.module,
                "shape": list(stack.shape),
                "layers": len(stack.layers) or None,
                "parameters": math.prod(stack.shape),
            }
            for stack in layout.stacks
        ],
        "tensors": [_tensor(row) for row in layout.rows],
    }


def _expansion(layout: FileLayout) -> Any:
    """How a learngene is read at other depths; None for a network. Files without a rule have TLEG's."""
    if layout.basis is None:
        return None
    return layout.header.tleg.get("expansion") or {"positions": "tleg", "step": NO_STEP, "branch_ends": []}


def _tensor(row: Row) -> TensorEntry:
    return {
        "name": row.name,
        "stack": row.stack,
        "module": row.module,
        "layer": row.layer,
        "part": row.part,
        "shape": list(row.info.shape),
        "dtype": row.info.dtype,
        "parameters": row.info.numel if row.is_parameter else 0,
    }


def _parameters(layout: FileLayout) -> ParameterCounts:
    """stored = repeated + shared; buffers are in the file too, but nothing trains them."""
    rows, factors = layout.rows, layout.header.factors
    parameters = [row for row in rows if row.is_parameter]
    repeated = sum(row.info.numel for row in parameters if row.stack and row.key not in factors)
    repeated += sum(one.numel for one in factors.values())
    shared = sum(row.info.numel for row in parameters if not row.stack)
    buffers = sum(row.info.numel for row in rows if not row.is_parameter)
    return {"stored": repeated + shared, "repeated": repeated, "shared": shared, "buffers": buffers}


def produced(layout: FileLayout, depths: str | None) -> Produced | None:
    """Parameters of the networks of `depths`, against those of the learngene that holds them all.

    A network is counted as the linear learngene that `tleg fit` would make of it. None without repeated blocks.
    """
    if not layout.stacks:
        return None
    own = layout.depth or (12,) * len(layout.stages)
    asked = parse_depths(depths or (USUAL_DEPTHS if len(own) == 1 else format_depth(own)))
    full = [complete_depth(depth, own, layout.path.name) for depth in asked]
    trained = {row.stack for row in layout.rows if row.is_parameter}
    blocks = [
        sum(math.prod(stack.shape) for stack in layout.stacks if stack.stage == stage and stack.name in trained)
        for stage in layout.stages
    ]
    counts = _parameters(layout)
    stored = counts["stored"] if layout.is_learngene else counts["shared"] + 2 * sum(blocks)
    networks: list[ProducedNetwork] = [
        {
            "depth": format_depth(depth),
            "parameters": counts["shared"] + sum(one * number for one, number in zip(blocks, depth, strict=True)),
        }
        for depth in full
    ]
    total = sum(network["parameters"] for network in networks)
    return {"networks": networks, "parameters": total, "stored": stored, "ratio": total / stored if stored else None}
