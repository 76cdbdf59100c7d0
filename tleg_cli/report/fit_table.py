"""What `tleg fit` found, in the terminal: R^2 of each module, and what random layers would give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tleg_cli.report.output import print_table
from tleg_cli.report.units import percent

if TYPE_CHECKING:
    from tleg_cli.models.fit_checkpoint import FitReport, StageFitted


def print_fit(report: FitReport, checkpoint: Path) -> None:
    """One row for each module, and one for all of a stage."""
    several = len(report["overall"]) > 1
    named: list[tuple[str, StageFitted]] = [(one["module"], one) for one in report["modules"]]
    named += [("all", one) for one in report["overall"]]
    rows = [
        [
            f"{entry['stage']} {module}" if several else module,
            f"{entry['numbers']:,}",
            percent(entry["r2"]),
            percent(entry["random"]),
        ]
        for module, entry in named
    ]
    size, network = report["parameters"], report["network_parameters"]
    title = (
        f"{report['file']}: {report['basis']} learngene of {checkpoint} ({report['backbone']}, depth {report['depth']}), "
        f"{size:,} parameters for {network:,}"
    )
    print_table(title, ["module", "values", "R²", "of random layers"], rows)
