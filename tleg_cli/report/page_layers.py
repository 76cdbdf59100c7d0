"""The parts of the page that compare layers: heat maps of R^2, thetas, trajectories, norms, histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tleg_cli.report import page_shapes
from tleg_cli.report.units import number, percent, signed

Entry = Mapping[str, Any]


def heats(file: Entry) -> list[dict[str, Any]]:
    """A heat map for each basis: modules down, their tensors and all of them together across."""
    found = next((one["linearity"] for one in file["overall"] if one["linearity"]), None)
    if found is None:
        return []
    kinds = list(dict.fromkeys(stack["name"].rpartition(".")[2] for stack in file["stacks"]))
    return [
        {
            "basis": basis["basis"],
            "chance": percent(basis["random"]),
            "columns": [*kinds, "together"],
            "rows": [_heat_row(file, module, kinds, basis["basis"]) for module in file["modules"]]
            + [
                {
                    "label": place_of(file, one | {"module": "all"}),
                    "cells": [None] * len(kinds) + [_cell(one, basis["basis"])],
                }
                for one in file["overall"]
            ],
        }
        for basis in found["bases"]
    ]


def _heat_row(file: Entry, module: Entry, kinds: Sequence[str], basis: str) -> dict[str, Any]:
    own = {
        stack["name"].rpartition(".")[2]: stack
        for stack in file["stacks"]
        if (stack["stage"], stack["module"]) == (module["stage"], module["module"])
    }
    cells = [_cell(own[kind], basis) if kind in own else None for kind in kinds]
    return {"label": place_of(file, module), "cells": [*cells, _cell(module, basis)]}


def _cell(entry: Entry, name: str) -> dict[str, Any]:
    """level: 0 at chance, 1 at R^2 = 1."""
    basis = basis_of(entry["linearity"], name)
    if basis is None or basis["r2"] is None:
        return {"text": "–", "level": 0, "mark": False, "hint": "the layers do not differ, or have NaN or infinity"}
    chance = basis["random"] or 0.0
    level = (basis["r2"] - chance) / (1 - chance) if chance < 1 else 0.0
    hint = f"R² {percent(basis['r2'])}; random layers {percent(basis['random'])}"
    if basis["p"] is not None:
        hint += f"; 95 % of other orders below {percent(basis['shuffled_95'])}; p = {basis['p']:.3f}"
    mark = basis["p"] is not None and basis["p"] < 0.05
    return {"text": percent(basis["r2"]), "level": share_of(level), "mark": mark, "hint": hint}


def thetas(file: Entry) -> list[dict[str, Any]]:
    """Of a learngene: the norms of its thetas, as bars."""
    if file["basis"] is None:
        return []
    entries = [*file["modules"], *(one | {"module": "all"} for one in file["overall"])]
    known = [entry for entry in entries if entry["theta"]]
    top = max((norm or 0.0 for entry in known for norm in entry["theta"]["norms"]), default=0.0) or 1.0
    linear = file["basis"] == "linear"
    return [
        {
            "label": place_of(file, entry),
            "bars": [
                {
                    "name": ("θB", "θA")[k] if linear else f"θ{k}",
                    "share": share_of((norm or 0) / top),
                    "text": number(norm),
                }
                for k, norm in enumerate(entry["theta"]["norms"])
            ],
            "ratio": number(entry["theta"]["ratio"]) if linear else None,
            "cosine": signed(entry["theta"]["cosine"]) if linear else None,
        }
        for entry in known
    ]


def cards(file: Entry, draw: Callable[[Entry], dict[str, Any] | None]) -> list[dict[str, Any]]:
    """A drawing for each module, and one for all of a stage together."""
    entries = [*file["modules"], *(one | {"module": "all"} for one in file["overall"])]
    drawn = []
    for entry in entries:
        drawing = draw(entry["linearity"]) if entry["linearity"] else None
        if drawing:
            linear = basis_of(entry["linearity"], "linear")
            drawn.append({"label": place_of(file, entry), "r2": percent(linear["r2"]) if linear else None, **drawing})
    return drawn


def norms(file: Entry) -> list[dict[str, Any]]:
    """Norms of the layers; of a linear learngene those of its networks, |theta_B + t theta_A| for t from 0 to 1."""
    if file["basis"] is None:
        return cards(file, lambda linearity: page_shapes.norms(linearity["norms"]))
    drawn = []
    for entry in file["modules"]:
        theta = entry["theta"]
        if file["basis"] != "linear" or not theta or theta["cosine"] is None:
            continue
        first, slope = theta["norms"]
        along = [t / 12 for t in range(12)]
        values = [(first**2 + 2 * t * first * slope * theta["cosine"] + (t * slope) ** 2) ** 0.5 for t in along]
        drawn.append({"label": place_of(file, entry), "r2": None, **(page_shapes.norms(values) or {})})
    return [card for card in drawn if "path" in card]


def ridges(file: Entry) -> list[dict[str, Any]]:
    groups: dict[str, list[Entry]] = {}
    for entry in file["tensors"]:
        groups.setdefault(entry["stack"] or entry["name"], []).append(entry)
    order = [stack["name"] for stack in file["stacks"]] + list(groups)
    found = {name: page_shapes.ridges(groups[name]) for name in dict.fromkeys(order) if name in groups}
    alone = f"{file['stages'][0]}.*." if len(file["stages"]) == 1 else ""
    return [{"label": name.removeprefix(alone), **drawing} for name, drawing in found.items() if drawing]


def basis_of(linearity: Entry | None, name: str) -> Entry | None:
    return next((one for one in linearity["bases"] if one["basis"] == name), None) if linearity else None


def place_of(file: Entry, entry: Entry) -> str:
    return f"{entry['stage']} {entry['module']}" if len(file["stages"]) > 1 else str(entry["module"])


def share_of(value: float | None) -> float:
    """Within 0 and 1, for a length or a colour."""
    return round(min(max(value or 0.0, 0.0), 1.0), 4)
