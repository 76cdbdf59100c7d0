"""What `tleg bench` measured, as a table or JSON, and what it means for a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tleg_cli.report.output import print_json, print_line, print_table
from tleg_cli.report.units import percent, size

# dense bf16 matrix products with fp32 sums, operations a second, as the maker states them; the names begin so
PEAKS = {
    "NVIDIA B200": 2.25e15,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
    "NVIDIA A10": 125e12,
    "NVIDIA GeForce RTX 4090": 165e12,
    "NVIDIA GeForce RTX 3090": 71e12,
}


def peak_of(card: str | None) -> tuple[str, float] | None:
    """The known card that `card` is, and its operations a second; None for an unknown one."""
    known = [name for name in PEAKS if card and card.startswith(name)]
    return (max(known, key=len), PEAKS[max(known, key=len)]) if known else None


def judged(made: Mapping[str, Any]) -> dict[str, Any]:
    """The measurement with what it means: operations a second, MFU where the card's peak is known, limit and advice."""
    rates = {part["part"]: part["images_per_second"] for part in made["parts"]}
    card = None if made["device"] == "cpu" else made["device"]
    operations, peak = 2 * made["macs_per_image"] * rates["step"], peak_of(card)
    return {
        **made,
        "operations_per_second": operations,
        **({} if peak is None else {"mfu": operations / peak[1], "peak_of": peak[0]}),
        "limit": _limit(rates),
        "advice": advice(rates, card=card, facts=made),
    }


def _limit(rates: dict[str, float]) -> str:
    """The part that a training waits for most: data if it comes more slowly than steps are taken, else the largest of a step."""
    if rates.get("data", float("inf")) < rates["step"]:
        return "data"
    inside = {name: rates[name] for name in ("augmentation", "teacher", "student") if name in rates}
    return min(inside, key=lambda name: inside[name])


def advice(rates: dict[str, float], *, card: str | None, facts: Mapping[str, Any]) -> list[str]:
    """What to change, most useful first; each line names the setting."""
    lines, step = [], rates["step"]
    if _limit(rates) == "data":
        lines.append(
            f"data: {facts['workers']} workers give {rates['data']:,.0f} images/s, a step could take {step:,.0f}; "
            "more --set data.workers=N, or write .beton files with `tleg prepare`"
        )
    if card and facts["precision"] == "fp32":
        lines.append("precision: fp32 on a GPU; --set aux.precision=bf16 is several times faster")
    if card and not facts["compiled"]:
        lines.append("compile: off; --set aux.compile=true")
    if "teacher" in rates and rates["teacher"] < rates["student"]:
        lines.append(
            "teacher: takes longer than the student's two passes; a smaller one, or --set teacher.image_size=N"
        )
    if rates["augmentation"] < 4 * step:
        share = step / rates["augmentation"]
        lines.append(f"augmentation: {percent(share, 0)} of a step; fewer operations in augmentation.auto_augment")
    return lines


def print_bench(made: dict[str, Any], *, as_json: bool) -> None:
    """A row for each part: milliseconds for a batch, images a second; or all of it as JSON."""
    if as_json:
        print_json(made)
        return
    rows = [[part["part"], f"{part['ms']:,.1f}", f"{part['images_per_second']:,.0f}"] for part in made["parts"]]
    batch = f"{made['batch_size']} images of {made['image_size']} pixels, {made['precision']}"
    state = "compiled" if made["compiled"] else "not compiled"
    print_table(
        f"stage 1 at depth {made['depth']} on {made['device']}: {batch}, {state}", ["part", "ms", "images/s"], rows
    )
    print_line()
    if "mfu" in made:
        print_line(f"MFU {percent(made['mfu'])} of {made['peak_of']}'s bf16 peak")
    else:
        print_line(
            f"{made['operations_per_second'] / 1e9:,.1f} G operations/s; no peak is known for this device, so no MFU"
        )
    if "peak_memory_bytes" in made:
        print_line(f"peak memory {size(made['peak_memory_bytes'])}")
    if "ratio_to_plain" in made:
        print_line(f"aux step / plain timm step: {made['ratio_to_plain']:.3f}")
    print_line(f"limit: {made['limit']}")
    for line in made["advice"]:
        print_line(f"- {line}")
