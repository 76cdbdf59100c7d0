"""A family's folder: what stands in its summary, whichever command trained which depth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from tleg_cli.training.records import FamilySummary, Summary
from tleg_cli.training.run_folder import read_summary


def family_of(out: Path, trained: Sequence[Summary], init: str, learngene: Mapping[str, str]) -> FamilySummary:
    """The summary of `out`: the descendants that were just trained, and those of earlier commands, by depth.

    Earlier ones only of the same init and learngene (its sha256), and only finished ones.
    """
    found = {one["depth"]: one for one in trained}
    for folder in sorted(out.glob("depth-*")):
        one = _finished(folder, init, learngene)
        if one is not None:
            found.setdefault(one["depth"], one)
    order = sorted(found, key=lambda depth: [int(blocks) for blocks in depth.split(":")])
    return {"kind": "family", "init": init, "descendants": [found[depth] for depth in order]}


def _finished(folder: Path, init: str, learngene: Mapping[str, str]) -> Summary | None:
    summary = read_summary(folder / "summary.json")
    if summary is None or summary.get("kind") != "descendant" or summary.get("init") != init:
        return None
    record = json.loads((folder / "run.json").read_text())
    same = record.get("learngene", {}).get("sha256") == learngene.get("sha256")
    return cast(Summary, summary) if same else None
