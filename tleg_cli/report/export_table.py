"""What `tleg export` reports: what was written, how it was compared, and network and file next to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tleg_cli.report.output import print_facts, print_line, print_table
from tleg_cli.report.units import percents, size


def report_export(report: Mapping[str, Any]) -> None:
    """At most 80 columns, but for long paths."""
    found = report["comparison"]
    kind = f"{report['format']}, {report['precision']}"
    opset = f"opset {report['opset']}, " if "opset" in report else ""
    facts = {
        "run with": f"{opset}{report['runtime']}",
        "compared on": f"{found['images']} {found['source']}",
        "batch sizes": ", ".join(map(str, found["batch_sizes"])),
        "largest difference": f"{found['largest_difference']:.1e} of logits up to {found['largest_logit']:.3g}",
        "top-1 agreement": percents(found["agreement"]),
    }
    if "calibration" in report:
        one = report["calibration"]
        facts["calibrated on"] = f"{one['images']} {one['source']}, {one['method']}"
    print_facts(f"{report['file']}: {kind}", facts)
    print_line()
    rows = [["size", *(size(report["bytes"][key]) for key in ("network", "file"))]]
    if "top1" in found:
        rows.append(["top-1", *(percents(found["top1"][key]) for key in ("network", "file"))])
    rows.append(["latency", *(f"{found['latency_ms'][key]:.2f} ms" for key in ("network", "file"))])
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    print_table(f"latency: median of one image, {threads}", ["", "network", "file"], rows)
