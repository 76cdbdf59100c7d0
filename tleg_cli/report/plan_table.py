"""A plan as tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tleg_cli.plan.document import BetonSizes, DiskPlan, Estimate, FamilyPlan, Plan, TrainingPlan
from tleg_cli.report.output import print_facts, print_line, print_paragraph, print_table
from tleg_cli.report.units import count_of, duration, millions, size

COLUMNS = (
    "network", "parameters", "GMACs", "epochs", "steps in all", "images", "batch", "lr", "PMACs in all", "memory", "result",
    "checkpoints",
)  # fmt: skip
DISPENSABLE = ("lr", "images", "checkpoints", "batch", "steps in all", "result", "PMACs in all", "memory", "GMACs")


@contextmanager
def counting() -> Iterator[None]:
    """At a terminal, shows on stderr what takes the time: loading torch and timm alone needs seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status("counting parameters, multiplications and memory ..."):
        yield


def print_plan(plan: Plan) -> None:
    """The trainings, the family's sums, the disk, what is missing and what can't work."""
    data = plan["data"]
    where = data["path"] if data["counted_as"] == "counted" else data["counted_as"]
    counts = f"{count_of(data['train'], 'image')} to train, {data['val']:,} to score, {count_of(data['classes'], 'class', 'classes')}"
    title = f"{where}: {counts}; {count_of(plan['processes'], 'process', 'processes')}"
    networks = [one for one in (plan["teacher"], plan["aux"], *plan["descendants"]) if one is not None]
    print_table(title, COLUMNS, [_row(one) for one in networks], DISPENSABLE)
    print_line()
    print_facts("the family, compared with training each network from scratch", _sums(plan["family"]))
    if plan["family"]["times_fewer_macs"] < 1:
        print_paragraph(_costs_more(plan["family"]))
    if "estimate" in plan:
        print_line()
        _print_estimate(plan["estimate"], plan)
    print_line()
    print_facts("on the disk", _files(data["betons"], plan["disk"]))
    print_line()
    print_paragraph(
        "Memory per process: weights, gradients, AdamW's moments, averages and what the backward pass keeps, without "
        "what CUDA and its allocator need. PMACs of training only; a backward pass counts as two forward passes."
    )
    for line in plan["missing"]:
        print_line(f"missing: {line}")
    for line in plan["problems"]:
        print_line(f"can't work: {line}")
    if commands := plan.get("commands"):
        print_line()
        print_line("the commands:")
        for line in commands:
            print_line(line)


def _print_estimate(found: Estimate, plan: Plan) -> None:
    """Hours of each training, and how they were found."""
    hours = {one["network"]: duration(one["hours"]) for one in found["trainings"]}
    family = plan["family"]
    hours |= {
        "in all": duration(found["hours"]),
        "separately": f"{duration(found['scratch_hours'])} for {count_of(family['networks'], 'network')} from scratch, "
        f"{count_of(family['scratch_epochs_each'], 'epoch')} each",
    }
    print_facts("estimated time", hours)
    images = "with their loader" if found["with_data"] else "of random images in memory, so without loading"
    shared = "" if plan["processes"] == 1 else f", shared by {plan['processes']} processes without loss"
    print_paragraph(
        f"An estimate: a few steps {images} were timed on this machine ({found['device']}) for each kind of training, and batches "
        f"of its scoring; the median of stage 1 is {found['seconds_per_step']:.3g} s for "
        f"{count_of(found['images_per_step'], 'image')}. Descendants between the smallest and the largest are interpolated{shared}. "
        "Other work on the machine makes it longer."
    )


def _row(one: TrainingPlan) -> list[str]:
    start = [one["network"], millions(one["parameters"]), f"{one['macs'] / 1e9:.3f}"]
    if "steps" not in one:  # a teacher that is trained already
        return start + [""] * (len(COLUMNS) - len(start))
    return [
        *start,
        f"{one['epochs']:,}",
        f"{one['steps']:,}",
        f"{one['images']:,}",
        str(one["global_batch"]),
        f"{one['lr']:.3g}",
        f"{one['training_macs'] / 1e15:,.3f}",
        size(one["memory_bytes"]),
        size(one["file_bytes"]),
        size(one["checkpoint_bytes"]),
    ]


def _files(betons: BetonSizes, disk: DiskPlan) -> dict[str, str]:
    each = count_of(disk["trainings"], "training")
    kept = disk["checkpoints_kept_of_each"]
    return {
        "train.beton": _bytes(betons["train_bytes"]),
        "val.beton": _bytes(betons["val_bytes"]),
        "both": betons["what"],
        "results": f"{size(disk['results_bytes'])} of {each}",
        "checkpoints": f"{size(disk['checkpoints_bytes'])} at most: up to {kept} of each training are kept, "
        f"the {kept - 1} newest and the best",
    }


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else size(count)


def _costs_more(family: FamilyPlan) -> str:
    times = 1 / family["times_fewer_macs"]
    return (
        f"The family multiplies {times:.2f} times as much as its {count_of(family['networks'], 'network')} trained separately: "
        "more depths, or fewer epochs of stage 1, make it cheaper."
    )


def _sums(family: FamilyPlan) -> dict[str, str]:
    each = f"{family['networks']} x {family['scratch_epochs_each']}"
    return {
        "epochs": f"{family['epochs']:,} against {family['scratch_epochs']:,} ({each}): {family['times_fewer_epochs']:.2f}x",
        "steps": f"{family['steps']:,} in all",
        "multiplications": f"{family['training_macs'] / 1e15:,.3f} PMACs against {family['scratch_training_macs'] / 1e15:,.3f}: "
        f"{family['times_fewer_macs']:.2f}x",
        "stored": f"{family['stored_parameters'] / 1e6:.3f} M parameters against {family['parameters_of_all'] / 1e6:.3f} M: "
        f"{family['times_fewer_parameters']:.1f}x",
        "pre-training": f"{count_of(family['pretraining_epochs'], 'epoch')} against {family['scratch_epochs']:,}: "
        f"{family['times_less_pretraining']:.2f}x",
    }
