"""A training, or several, as what the report's page shows: figures, charts and tables, all of them text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.inspect.run_record import REPORT, RunRecord, flat, number_of, scores_by_depth
from tleg_cli.report.run_charts import Named, charts_of, depths_of
from tleg_cli.report.units import count_of, millions, percents, size

_MOST_CLASSES = 60  # names that the configuration lists


def page_view(title: str, runs: Sequence[Named], family: Path | None) -> dict[str, Any]:
    """Everything that the template needs. family: the folder of the descendants, None for other runs."""
    several = len(runs) > 1
    return {
        "title": title,
        "family": family is not None,
        "several": several,
        "facts": [] if several else _facts(runs[0].run),
        "problems": [problem for one in runs for problem in _problems(one, several)],
        "figures": [] if several else _figures(runs[0].run),
        "overview": _overview(runs, family) if several else None,
        "charts": charts_of(runs, family is not None),
        "depths": depths_of(runs),
        "differing": _differing(runs) if several else [],
        "runs": [_details(one) for one in runs],
    }


def _facts(run: RunRecord) -> list[str]:
    identity = run.identity
    data, backbone = identity.get("data"), identity.get("backbone")
    found = [
        f"tleg {'adopt' if 'start' in identity else identity.get('command', 'training')}",
        str(backbone.get("name")) if isinstance(backbone, Mapping) else "",
        f"depth {run.depth}" if run.depth else "",
        _drawn_depths(run),
        f"data {data.get('path')}" if isinstance(data, Mapping) else "",
        f"seed {identity['seed']}" if "seed" in identity else "",
        "finished" if run.summary else "not finished",
    ]
    return [fact for fact in found if fact]


def _drawn_depths(run: RunRecord) -> str:
    draw = run.identity.get("draw")
    depths = draw.get("depths") if isinstance(draw, Mapping) else None
    return f"trained at depths {depths[0]} to {depths[-1]}" if isinstance(depths, list) and depths else ""


def _problems(one: Named, several: bool) -> list[str]:
    where = f"{one.name}: " if several else ""
    torn = [f"{count_of(one.run.unreadable, 'line')} of metrics.jsonl can't be read"] if one.run.unreadable else []
    changed = [
        f"{file.name} has changed since the training wrote it"
        for file in one.run.files
        if file.recorded is not None and file.recorded != file.sha256
    ]
    return [f"{where}{problem}" for problem in [*one.run.problems, *torn, *changed]]


def _figures(run: RunRecord) -> list[dict[str, str]]:
    """The large values at the top."""
    last = run.epochs[-1] if run.epochs else {}
    scored = run.summary.get("scored") == "agreement"
    best, epoch = _best(run)
    figures = [
        ("top-1: agreement with the teacher" if scored else "top-1 at the end", percents(number_of(last, "top1"), 2)),
        ("top-1 of the average (EMA)", percents(number_of(last, "ema_top1"), 2)),
        (f"best top-1{'' if epoch is None else f', after epoch {epoch:.0f}'}", percents(best, 2)),
        ("epochs", _epochs(run)),
        ("training and scoring", _duration(_seconds(run))),
        ("parameters", _parameters(run)),
    ]
    return [{"label": label, "value": value} for label, value in figures if value != "-"]


def _best(run: RunRecord) -> tuple[float | None, float | None]:
    """(top-1, epoch), the first of equals."""
    scores = [(score, number_of(one, "epoch")) for one in run.epochs if (score := number_of(one, "top1")) is not None]
    return max(scores, key=lambda one: one[0]) if scores else (None, None)


def _epochs(run: RunRecord) -> str:
    done = number_of(run.epochs[-1], "epoch") if run.epochs else 0
    planned = number_of(run.plan, "epochs")
    if done is None:
        return "-"
    return f"{done:.0f}" if planned is None or done == planned else f"{done:.0f} of {planned:.0f}"


def _seconds(run: RunRecord) -> float | None:
    """Of all epochs, scoring included: a run that was interrupted has a shorter summary."""
    known = [value for one in run.epochs if (value := number_of(one, "seconds")) is not None]
    return sum(known) if known else number_of(run.summary, "seconds")


def _parameters(run: RunRecord) -> str:
    count = number_of(run.summary, "learngene_parameters") or number_of(run.summary, "parameters")
    return "-" if count is None else millions(int(count))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _overview(runs: Sequence[Named], family: Path | None) -> dict[str, Any]:
    """A row for each run. link: to the page of one descendant, in its folder."""
    columns = ["parameters", "epochs", "before", "top-1", "EMA", "best", "images/s", "time"]
    table = [_row(one.run) for one in runs]
    kept = [index for index in range(len(columns)) if any(cells[index] != "-" for cells in table)]
    rows = [
        {"name": one.name, "link": _link(one.run.folder, family), "cells": [cells[index] for index in kept]}
        for one, cells in zip(runs, table, strict=True)
    ]
    return {"columns": [columns[index] for index in kept], "rows": rows}


def _row(run: RunRecord) -> list[str]:
    first, last = (run.epochs[0], run.epochs[-1]) if run.epochs else ({}, {})
    before = number_of(first, "top1") if number_of(first, "step") == 0 else None
    speed = number_of(last, "images_per_second")
    return [
        _parameters(run),
        _epochs(run),
        percents(before, 2),
        percents(number_of(last, "top1"), 2),
        percents(number_of(last, "ema_top1"), 2),
        percents(_best(run)[0], 2),
        "-" if speed is None else f"{speed:,.0f}",
        _duration(_seconds(run)),
    ]


def _link(folder: Path, family: Path | None) -> str | None:
    return f"{folder.name}/{REPORT}" if family is not None else None


def _differing(runs: Sequence[Named]) -> list[dict[str, Any]]:
    """The settings in which the runs are not all equal."""
    settings = [dict(_settings(one.run)) for one in runs]
    keys = list(dict.fromkeys(key for values in settings for key in values))
    return [
        {"name": key, "cells": [values.get(key, "–") for values in settings]}
        for key in keys
        if len({values.get(key) for values in settings}) > 1
    ]


def _settings(run: RunRecord) -> list[tuple[str, str]]:
    """run.json and the effective values of plan.json, flat."""
    found = []
    for key, value in flat({**run.identity, "plan": run.plan} if run.plan else run.identity):
        if key == "classes" and isinstance(value, list):
            names = ", ".join(map(str, value[:_MOST_CLASSES])) + (", …" if len(value) > _MOST_CLASSES else "")
            found.append((key, f"{len(value)}: {names}"))
        else:
            found.append((key, value if isinstance(value, str) else json.dumps(value)))
    return found


def _details(one: Named) -> dict[str, Any]:
    """What is listed of each run."""
    run = one.run
    return {
        "name": one.name,
        "path": str(run.folder),
        "epochs": _epoch_table(run),
        "settings": _settings(run),
        "config": run.config.splitlines(),
        "environment": list(run.environment.items()),
        "files": [
            {
                "name": file.name,
                "size": size(file.size),
                "sha256": file.sha256,
                "state": "" if file.recorded is None else "as written" if file.recorded == file.sha256 else "changed",
            }
            for file in run.files
        ],
        "checkpoints": f"{count_of(run.checkpoints[0], 'checkpoint')}, {size(run.checkpoints[1])}"
        if run.checkpoints[0]
        else "",
    }


_COLUMNS = (
    ("epoch", "epoch", "{:.0f}"), ("step", "step", "{:,.0f}"), ("loss", "loss", "{:.4f}"), ("val_loss", "val. loss", "{:.4f}"),
    ("top1", "top-1 %", "{:.2f}"), ("top5", "top-5 %", "{:.2f}"), ("ema_top1", "EMA %", "{:.2f}"), ("lr", "rate", "{:.3g}"),
    ("images_per_second", "images/s", "{:,.0f}"), ("data_wait", "waiting", "{:.1%}"), ("seconds", "seconds", "{:.1f}"),
)  # fmt: skip


def _epoch_table(run: RunRecord) -> dict[str, Any]:
    """Every epoch's values: the charts in a form that can be read out."""
    used = [column for column in _COLUMNS if any(number_of(one, column[0]) is not None for one in run.epochs)]
    depths = dict.fromkeys(depth for one in run.epochs for depth in scores_by_depth(one))
    rows = []
    for one in run.epochs:
        known = [(number_of(one, key), form) for key, _, form in used]
        known += [(scores_by_depth(one).get(depth), "{:.2f}") for depth in depths]
        rows.append(["–" if value is None else form.format(value) for value, form in known])
    return {"columns": [title for _, title, _ in used] + [f"depth {depth} %" for depth in depths], "rows": rows}
