"""Where a result comes from: versions, command, data and scores, as plain values for every file that leaves a run."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from tleg_cli.training.records import EpochRecord

PACKAGES = ("tleg", "torch", "timm")


def provenance(**facts: Any) -> dict[str, Any]:
    """`facts`, with the versions, the command line and the time (UTC) of this moment."""
    return {
        **facts,
        "versions": {name: metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "command": " ".join(["tleg", *sys.argv[1:]]),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def scores_of(history: Sequence[EpochRecord]) -> Mapping[str, Any]:
    """The last record's scores."""
    last: Mapping[str, Any] = history[-1] if history else {}
    return {name: last[name] for name in ("epoch", "top1", "top5", "ema_top1") if name in last}
