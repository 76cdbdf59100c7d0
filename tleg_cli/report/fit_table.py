"""What `tleg fit` found, in the terminal: R^2 of each module, and what random layers would give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tleg_cli.report.output import print_table
from tleg_cli.report.units import percent


def print_fit(report: Mapping[str, Any], checkpoint: Path) -> None:
    """report: what fit_report() gives."""
    several = len(report["overall"]) > 1
    rows = [
        [
            f"{entry['stage']} {entry['module']}" if several else entry["module"],
            f"{entry['numbers']:,}",
            percent(entry["r2"]),
            percent(entry["random"]),
        ]
        for entry in [*report["modules"], *(one | {"module": "all"} for one in report["overall"])]
    ]
    size, network = report["parameters"], report["network_parameters"]
    title = (
        f"{report['file']}: {report['basis']} learngene of {checkpoint} ({report['backbone']}, depth {report['depth']}), "
        f"{size:,} parameters for {network:,}"
    )
    print_table(title, ["module", "values", "R²", "of random layers"], rows)
