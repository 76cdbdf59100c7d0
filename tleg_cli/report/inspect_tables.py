"""An inspection in the terminal: what the file is, a line for each module and, on request, a line for each tensor."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from tleg_cli.inspect.document import Inspection
from tleg_cli.report.output import result_console, shown
from tleg_cli.report.units import number, percent, shape, short, signed, size

Entry = Mapping[str, Any]
GOOD = "bold green"  # better than chance
FAINT = "dim"
AGAINST_WORDS = (("missing", "only there"), ("added", "only here"), ("reshaped", "of another shape"))


def print_inspection(document: Inspection, *, tensors: bool) -> None:
    """Every file of the document on stdout."""
    console = result_console(width=None if sys.stdout.isatty() else 200)
    for index, file in enumerate(shown(document["files"])):
        if index:
            console.print()
        for part in _file(file, tensors=tensors):
            console.print(part)


def _file(file: Entry, *, tensors: bool) -> list[Any]:
    parts: list[Any] = [_what(file)]
    if "modules" not in file:
        parts += ["", _shapes(file)]
    elif file["basis"] is not None:
        parts += ["", _theta(file), *_family(file)]
    elif file["modules"]:
        parts += ["", _linearity(file), _legend(file), *_family(file)]
    else:
        parts += ["", "The file has no repeated blocks, so there is nothing to compare over depth."]
    if file.get("against"):
        parts += ["", *_against(file["against"])]
    if file.get("profiles"):
        parts += ["", *_profiles(file["profiles"])]
    if tensors:
        parts += ["", _tensors(file)]
    return parts


def _profiles(profiles: Sequence[Entry]) -> list[Any]:
    """Top-1 over depth, a row for each rule."""
    table = _table("depth", *(one["depth"] for one in profiles[0]["scores"]))
    for profile in profiles:
        rule = f"positions {profile['positions']}, step {profile['step']}"
        table.add_row(rule, *(f"{one['top1']:.1f}" for one in profile["scores"]))
    return [f"top-1 (%) on {profiles[0]['data']} with no further training", table]


def _rule(expansion: Any) -> str | None:
    """A rule other than TLEG's."""
    if not isinstance(expansion, dict) or (expansion.get("positions"), expansion.get("step")) == ("tleg", "none"):
        return None
    return f"positions {expansion.get('positions')}, step {expansion.get('step')}"


def _what(file: Entry) -> Text:
    """Two lines: the file, and what is in it."""
    kind = {"reference": "reference checkpoint"}.get(file["kind"], file["kind"])
    dtypes = ", ".join(file["dtypes"]) or "no tensors"
    facts = [kind, file["backbone"], f"basis {file['basis']}" if file["basis"] else None, _rule(file["expansion"])]
    depth = file["depth"]
    facts.append(f"{'aux net of depth' if file['basis'] else 'depth'} {depth}" if depth else None)
    facts.append(f"{file['classes']} classes" if file["classes"] else None)
    facts.append(f"{file['image_size']} px" if file["image_size"] else None)
    count = file["parameters"]
    split = f": {count['repeated']:,} in blocks, {count['shared']:,} shared" if count["repeated"] else ""
    lines = [
        " · ".join(str(fact) for fact in facts if fact),
        f"{count['stored']:,} parameters{split} · {dtypes} · {size(file['bytes'])}",
    ]
    if count["buffers"]:
        lines[1] += f" · {count['buffers']:,} values in buffers"
    if file["low_rank"]:
        ranks = [rank for its in file["low_rank"].values() for rank in its]
        lines.append(f"{len(file['low_rank'])} thetas as their mean and residuals of rank {min(ranks)} to {max(ranks)}")
    if file["weights"]["note"]:
        lines.append(file["weights"]["note"])
    text = Text.assemble((file["file"], "bold"), "\n", "\n".join(lines))
    if file.get("nan") or file.get("inf"):
        text.append(f"\n{file['nan']:,} NaN and {file['inf']:,} Inf: see --tensors --sort nan", "bold red")
    return text


def _theta(file: Entry) -> Table:
    """A learngene: the norms of its thetas, and for TLEG the ratio of theta_A to theta_B."""
    rank = max((len(entry["theta"]["norms"]) for entry in file["modules"] if entry["theta"]), default=0)
    linear = file["basis"] == "linear"
    names = ["|theta_B|", "|theta_A|"] if linear else [f"|theta_{k}|" for k in range(rank)]
    table = _table("module", "parameters", *names, *(("A / B", "cos(A, B)") if linear else ()))
    for entry in [*file["modules"], *(one | {"module": "all"} for one in file["overall"])]:
        theta = entry["theta"] or {"norms": [None] * rank, "ratio": None, "cosine": None}
        numbers = [*map(number, theta["norms"])]
        numbers += [number(theta["ratio"]), signed(theta["cosine"])] if linear else []
        table.add_row(
            _name(file, entry), _count(entry, rank), *numbers, style="bold" if entry["module"] == "all" else ""
        )
    return table


def _linearity(file: Entry) -> Table:
    """A network: R^2 of the layers for each basis; the last line is what chance gives."""
    bases = _bases(file)
    table = _table("module", "parameters", "common", *bases, "A / B", "cos(A, B)")
    for entry in [*file["modules"], *(one | {"module": "all"} for one in file["overall"])]:
        found, theta = entry["linearity"], entry["theta"] or {}
        cells = [r2(one) for one in found["bases"]] if found else ["-"] * len(bases)
        common = percent(found["common"]) if found else "-"
        layers = found["layers"] if found else 1
        ends = number(theta.get("ratio")), signed(theta.get("cosine"))
        style = "bold" if entry["module"] == "all" else ""
        table.add_row(_name(file, entry), _count(entry, layers), common, *cells, *ends, style=style)
    for entry in file["overall"]:
        if entry["linearity"]:
            random = [percent(one["random"]) for one in entry["linearity"]["bases"]]
            name = _name(file, entry | {"module": "chance"})
            table.add_row(name, "", percent(entry["linearity"]["common_random"]), *random, style=FAINT)
    return table


def _bases(file: Entry) -> list[str]:
    """Their names."""
    found = next((one["linearity"] for one in file["overall"] if one["linearity"]), None)
    return [one["basis"] for one in found["bases"]] if found else []


def _legend(file: Entry) -> Text:
    layers = ", ".join(str(one["linearity"]["layers"]) for one in file["overall"] if one["linearity"])
    return Text(
        f"R² over {layers or 'no'} layers about their mean; *: above 95 % of other orders of the layers. common: the mean\n"
        "layer's share of the squared weights. A / B and cos: of the theta that `tleg fit --basis linear` would give.",
        style=FAINT,
    )


def _family(file: Entry) -> list[Any]:
    """The networks that the stored parameters produce at several depths."""
    family = file["produced"]
    if not family:
        return []
    networks = family["networks"]
    line = (
        f"{len(networks)} networks of depth {networks[0]['depth']} to {networks[-1]['depth']}: " if len(networks) > 1
        else f"A network of depth {networks[0]['depth']}: "
    ) + f"{family['parameters']:,} parameters from {family['stored']:,} stored"  # fmt: skip
    if family["ratio"]:
        line += f", {family['ratio']:.1f} times"
    if file["basis"] is None:
        line += " (as a linear learngene)"
    table = _table("depth", *(network["depth"] for network in networks))
    table.add_row("parameters", *(short(network["parameters"]) for network in networks))
    return ["", line, table] if 1 < len(networks) <= 12 else ["", line]


def _shapes(file: Entry) -> Table:
    table = _table("tensor", "shape", "dtype", "parameters")
    for entry in file["tensors"]:
        table.add_row(entry["name"], shape(entry["shape"]), entry["dtype"], f"{entry['parameters']:,}")
    return table


def _tensors(file: Entry) -> Table:
    keys = ("mean", "std", "min", "max", "norm", "spectral_norm", "effective_rank")
    table = _table("tensor", "shape", "mean", "std", "min", "max", "norm", "spectral", "eff. rank", "NaN", "Inf")
    for entry in file["tensors"]:
        if "mean" not in entry:
            return _shapes(file)
        odd = [str(entry["nan"] or ""), str(entry["inf"] or "")]
        table.add_row(entry["name"], shape(entry["shape"]), *(number(entry[key]) for key in keys), *odd)
    return table


def _against(against: Entry) -> list[Any]:
    table = _table("module", "drift", "cosine", "in the basis", "chance")
    for entry in [*against["modules"], against["overall"] | {"module": "all"}]:
        style = "bold" if entry["module"] == "all" else ""
        cells = (
            percent(entry["drift"]),
            signed(entry["cosine"]),
            percent(entry.get("in_basis")),
            percent(entry.get("random")),
        )
        several = len({one["stage"] for one in against["modules"]} - {""}) > 1
        name = f"{entry['stage']} {entry['module']}" if several and entry.get("stage") else entry["module"]
        table.add_row(name, *cells, style=style)
    lines: list[Any] = [Text(f"Against {against['file']} ({against['kind']})", style="bold"), table]
    for key, words in AGAINST_WORDS:
        if against[key]:
            names = [one if isinstance(one, str) else one["name"] for one in against[key]]
            lines.append(f"{len(names)} tensors {words}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")
    return lines


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _name(file: Entry, entry: Entry) -> str:
    """The module, with its stage where there are several."""
    return f"{entry['stage']} {entry['module']}" if len(file["stages"]) > 1 else str(entry["module"])


def _count(entry: Entry, times: int) -> str:
    return f"{entry['parameters'] * times:,}" if "parameters" in entry else ""


def r2(entry: Entry) -> Text:
    """A share, marked if hardly any other order of the layers does as well."""
    beyond = entry["r2"] is not None and entry["p"] is not None and entry["p"] < 0.05
    return Text(percent(entry["r2"]) + (" *" if beyond else "  "), style=GOOD if beyond else "")
