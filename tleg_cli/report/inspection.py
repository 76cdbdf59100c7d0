"""`tleg inspect` as one document of plain values; the tables, the JSON, the page and the plots only show it.

overview() needs the header alone and no torch; inspect_file() adds what measure.py and against.py compute.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tleg_cli.learngene.depths import complete_depth, format_depth, parse_depths
from tleg_cli.learngene.header import read_header
from tleg_cli.report.subject import Row, Subject, subject_of

SCHEMA = "tleg-inspect"
SCHEMA_VERSION = 1
USUAL_DEPTHS = "3-12"  # the family of the paper, where nobody asks for another


@dataclass(frozen=True)
class Question:
    """What to look at. bases: their names, none for the usual ones, None for sizes and shapes only."""

    depths: str | None = None
    bases: Sequence[str] | None = None
    against: Path | None = None


def inspect_files(paths: Sequence[Path], question: Question) -> dict[str, Any]:
    """The document: `{"schema": .., "schema_version": .., "files": [..]}`, every value valid JSON."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "files": [inspect_file(path, question) for path in paths],
    }


def inspect_file(path: Path, question: Question) -> dict[str, Any]:
    """One file. Raises FileFormatError if it can't be read, ConfigError for depths that it can't have."""
    header = read_header(path) if question.bases is None else None
    if header is not None:
        return overview(subject_of(path, header), question.depths)
    from tleg_cli.report.measure import measured_file  # only now torch is needed

    return measured_file(path, question)


def overview(subject: Subject, depths: str | None) -> dict[str, Any]:
    """What the header alone says; the measured values of measure.py have the same places."""
    facts = subject.facts
    return {
        "file": str(subject.path),
        "kind": subject.kind,
        "container": subject.header.container,
        "bytes": subject.path.stat().st_size,
        "backbone": facts.get("backbone"),
        "basis": subject.basis,
        "stages": list(subject.stages),
        "depth": format_depth(subject.depth) or None,
        "classes": facts.get("classes"),
        "image_size": facts.get("image_size"),
        "provenance": facts.get("provenance") or {},
        "beside": dict(subject.header.extra),
        "parameters": _parameters(subject.rows),
        "dtypes": dict(Counter(row.info.dtype for row in subject.rows).most_common()),
        "produced": produced(subject, depths),
        "stacks": [
            {
                "name": stack.name,
                "stage": stack.stage,
                "module": stack.module,
                "shape": list(stack.shape),
                "layers": len(stack.layers) or None,
                "parameters": math.prod(stack.shape),
            }
            for stack in subject.stacks
        ],
        "tensors": [_tensor(row) for row in subject.rows],
    }


def _tensor(row: Row) -> dict[str, Any]:
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


def _parameters(rows: Sequence[Row]) -> dict[str, int]:
    """stored = repeated + shared; buffers are in the file too, but nothing trains them."""
    parameters = [row for row in rows if row.is_parameter]
    repeated = sum(row.info.numel for row in parameters if row.stack)
    stored = sum(row.info.numel for row in parameters)
    buffers = sum(row.info.numel for row in rows if not row.is_parameter)
    return {"stored": stored, "repeated": repeated, "shared": stored - repeated, "buffers": buffers}


def produced(subject: Subject, depths: str | None) -> dict[str, Any] | None:
    """Parameters of the networks of `depths`, against those of the learngene that holds them all.

    A network is counted as the linear learngene that `tleg fit` would make of it. None without repeated blocks.
    """
    if not subject.stacks:
        return None
    own = subject.depth or (12,) * len(subject.stages)
    asked = parse_depths(depths or (USUAL_DEPTHS if len(own) == 1 else format_depth(own)))
    full = [complete_depth(depth, own, subject.path.name) for depth in asked]
    trained = {row.stack for row in subject.rows if row.is_parameter}
    blocks = [
        sum(math.prod(stack.shape) for stack in subject.stacks if stack.stage == stage and stack.name in trained)
        for stage in subject.stages
    ]
    counts = _parameters(subject.rows)
    stored = counts["stored"] if subject.is_learngene else counts["shared"] + 2 * sum(blocks)
    networks: list[dict[str, Any]] = [
        {
            "depth": format_depth(depth),
            "parameters": counts["shared"] + sum(one * number for one, number in zip(blocks, depth, strict=True)),
        }
        for depth in full
    ]
    total = sum(network["parameters"] for network in networks)
    return {"networks": networks, "parameters": total, "stored": stored, "ratio": total / stored if stored else None}
