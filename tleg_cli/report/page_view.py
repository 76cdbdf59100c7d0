"""One inspected file as the page shows it: plain values for the template, without markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tleg_cli.report.inspect_tables import AGAINST_WORDS
from tleg_cli.report.page_layers import basis_of, cards, heats, norms, ridges, share_of, thetas
from tleg_cli.report.page_shapes import trajectory
from tleg_cli.report.page_table import table
from tleg_cli.report.units import number, percent, shape, short, signed, size

Entry = Mapping[str, Any]


def view(file: Entry) -> dict[str, Any]:
    """The parts of a file's page. Parts without content are None or empty, and the page leaves them out."""
    measured = "modules" in file
    return {
        "name": file["file"],
        "facts": _facts(file),
        "note": file["weights"]["note"],
        "figures": _figures(file),
        "verdict": _verdicts(file) if measured else [],
        "composition": _composition(file),
        "family": _family(file),
        "heats": heats(file) if measured else [],
        "thetas": thetas(file) if measured else [],
        "trajectories": cards(file, trajectory) if measured else [],
        "norms": norms(file) if measured else [],
        "ridges": ridges(file) if measured else [],
        "against": _against(file.get("against")),
        "table": table(file),
        "odd": (file.get("nan", 0), file.get("inf", 0)),
    }


def _facts(file: Entry) -> list[str]:
    kind = {"reference": "reference checkpoint"}.get(file["kind"], file["kind"])
    depth = f"{'aux net of depth' if file['basis'] else 'depth'} {file['depth']}" if file["depth"] else None
    basis = f"{file['basis']} basis" if file["basis"] else None
    classes = f"{file['classes']} classes" if file["classes"] else None
    pixels = f"{file['image_size']} px" if file["image_size"] else None
    facts = (kind, file["backbone"], basis, depth, classes, pixels, ", ".join(file["dtypes"]), size(file["bytes"]))
    return [str(fact) for fact in facts if fact]


def _figures(file: Entry) -> list[dict[str, Any]]:
    """The few large numbers at the top."""
    count = file["parameters"]
    figures: list[dict[str, Any]] = [
        {"value": short(count["stored"]), "label": "parameters", "note": f"{count['stored']:,}"}
    ]
    if count["repeated"]:
        share = percent(count["repeated"] / count["stored"])
        figures.append({"value": share, "label": "of them in blocks", "note": f"{count['shared']:,} shared"})
    for entry in file.get("overall", ()):
        linear = basis_of(entry["linearity"], "linear")
        if linear and linear["r2"] is not None and linear["random"] < 1:  # two layers always lie on a line
            stage = f", {entry['stage']}" if len(file["stages"]) > 1 else ""
            note = f"chance gives {percent(linear['random'])}"
            figures.append(
                {"value": percent(linear["r2"]), "label": f"R² of a line over depth{stage}", "note": note}
                | {"bar": share_of(linear["r2"]), "tick": share_of(linear["random"])}
            )
        elif file["basis"] == "linear" and entry["theta"] and entry["theta"]["ratio"] is not None:
            note = f"cosine {signed(entry['theta']['cosine'])}"
            figures.append({"value": number(entry["theta"]["ratio"]), "label": "‖θA‖ / ‖θB‖", "note": note})
    if file["produced"] and file["produced"]["ratio"]:
        family = file["produced"]
        first, last = family["networks"][0]["depth"], family["networks"][-1]["depth"]
        depths = f"depth {first}" if first == last else f"depths {first} to {last}"
        note = f"{depths} from {short(family['stored'])} stored"
        figures.append({"value": f"{family['ratio']:.1f}×", "label": "parameters produced", "note": note})
    return figures


def _verdicts(file: Entry) -> list[str]:
    """What the values mean, in a few sentences for each stage."""
    sentences = []
    for entry in file["overall"]:
        linear, found = basis_of(entry["linearity"], "linear"), entry["linearity"]
        if not linear or linear["r2"] is None or linear["random"] is None:
            continue
        where = f"In {entry['stage']}, a" if len(file["stages"]) > 1 else "A"
        kept, chance = percent(linear["r2"]), percent(linear["random"])
        sentences.append(
            f"{where} straight line over depth explains {kept} of the differences between the {found['layers']} layers; for "
            f"random layers it would explain {chance}. {_judgement(linear)} The mean layer alone accounts for "
            f"{percent(found['common'])} of the squared weights."
        )
    return sentences


def _judgement(linear: Entry) -> str:
    if linear["p"] is None or linear["random"] >= 1:
        return "So few layers always lie on a line, so this shows nothing."
    if linear["p"] >= 0.05:
        cases = f"{100 * linear['p']:.0f} of 100 cases"
        return f"This is chance level: in another order, the same layers do as well in {cases}."
    little = "This is little, but more than chance. " if linear["r2"] - linear["random"] < 0.05 else ""
    below = percent(linear["shuffled_95"])
    return f"{little}With the layers in another order, it explains less than {below} in 95 of 100 cases."


def _composition(file: Entry) -> list[dict[str, Any]]:
    """Where the parameters are, the largest first."""
    sums: dict[str, int] = {}
    for entry in file["tensors"]:
        place = entry["module"] if entry["stack"] else "shared: " + entry["module"]
        sums[place] = sums.get(place, 0) + entry["parameters"]
    total = sum(sums.values()) or 1
    parts = sorted(((name, count) for name, count in sums.items() if count), key=lambda part: -part[1])
    if len(parts) > 9:
        parts = [*parts[:8], (f"{len(parts) - 8} others", sum(count for _, count in parts[8:]))]
    return [
        {"name": name, "count": f"{count:,}", "share": share_of(count / total), "text": percent(count / total)}
        for name, count in parts
    ]


def _family(file: Entry) -> dict[str, Any] | None:
    family = file["produced"]
    if not family or len(family["networks"]) > 40:
        return None
    top = max([network["parameters"] for network in family["networks"]] + [family["stored"]]) or 1
    bars = [
        {"label": one["depth"], "share": share_of(one["parameters"] / top), "text": short(one["parameters"])}
        for one in family["networks"]
    ]
    stored = {"label": "stored", "share": share_of(family["stored"] / top), "text": short(family["stored"])}
    return {"bars": bars, "stored": stored, "as_learngene": file["basis"] is None}


def _against(against: Entry | None) -> dict[str, Any] | None:
    if against is None:
        return None
    top = max((entry["drift"] or 0.0 for entry in against["modules"]), default=0.0) or 1.0
    rows = [
        {"label": entry["module"], "share": share_of((entry["drift"] or 0.0) / top)}
        | {key: percent(entry[key]) for key in ("drift", "in_basis", "random")}
        | {"cosine": signed(entry["cosine"])}
        for entry in [*against["modules"], against["overall"] | {"module": "all"}]
    ]
    odd = [{"words": text, "names": [_odd(one) for one in against[key]]} for key, text in AGAINST_WORDS if against[key]]
    return {"file": against["file"], "kind": against["kind"], "rows": rows, "odd": odd}


def _odd(one: Any) -> str:
    if isinstance(one, str):
        return one
    here, there = (shape(one[side]) for side in ("here", "there"))
    return f"{one['name']}: {here} here, {there} there"
