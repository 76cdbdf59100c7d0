"""A plan as a table for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tleg_cli.report.summary import print_facts, print_table

COLUMNS = (
    "network", "parameters", "GMACs", "epochs", "steps", "images", "batch", "lr", "PMACs in all", "memory", "result",
    "checkpoints",
)  # fmt: skip


def print_plan(plan: Mapping[str, Any]) -> None:
    """The trainings, the family's sums, and what is missing."""
    data = plan["data"]
    where = f"{data['path']}: " if data["kind"] != "assumed" else "as if the data were there: "
    counts = f"{data['train']:,} images to train, {data['val']:,} to score, {data['classes']:,} classes"
    title = f"{where}{counts}; processes: {plan['processes']}"
    print_table(title, COLUMNS, [_row(one) for one in (plan["teacher"], plan["aux"], *plan["descendants"])])
    print()
    print_facts("the family, beside each network from scratch", _sums(plan["family"]))
    print("\nMemory is for each process: weights, gradients, AdamW, averages and what the backward pass keeps, without")
    print("what CUDA and its allocator take beside. PMACs count training alone; a backward pass is two forward ones.")
    for line in plan["missing"]:
        print(f"missing: {line}")


def _row(one: Mapping[str, Any]) -> list[str]:
    start = [one["network"], f"{one['parameters'] / 1e6:.3f} M", f"{one['macs'] / 1e9:.3f}"]
    if "steps" not in one:  # a teacher that comes trained
        return start + [""] * (len(COLUMNS) - len(start))
    return [
        *start,
        str(one["epochs"]),
        f"{one['steps']:,}",
        f"{one['images']:,}",
        str(one["global_batch"]),
        f"{one['lr']:.3g}",
        f"{one['training_macs'] / 1e15:,.3f}",
        size(one["memory_bytes"]),
        size(one["file_bytes"]),
        size(one["checkpoint_bytes"]),
    ]


def size(count: float) -> str:
    """Bytes for a person: 17.2 MB, 4.31 GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _sums(family: Mapping[str, Any]) -> dict[str, str]:
    each = f"{family['networks']} x {family['scratch_epochs_each']}"
    return {
        "epochs": f"{family['epochs']:,} against {family['scratch_epochs']:,} ({each}): {family['times_fewer_epochs']:.2f}x",
        "multiplications": f"{family['training_macs'] / 1e15:,.3f} PMACs against {family['scratch_training_macs'] / 1e15:,.3f}: "
        f"{family['times_fewer_macs']:.2f}x",
        "stored": f"{family['stored_parameters'] / 1e6:.3f} M parameters against {family['parameters_of_all'] / 1e6:.3f} M: "
        f"{family['times_fewer_parameters']:.1f}x",
        "pre-training": f"{family['pretraining_epochs']} epochs against {family['scratch_epochs']:,}: "
        f"{family['times_less_pretraining']:.2f}x",
    }
