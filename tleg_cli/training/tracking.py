"""Trackers of a training (TensorBoard, Weights & Biases, a plugin's): the records of metrics.jsonl, also sent there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.errors import first_line
from tleg_cli.hookspecs import OpenTracker, Tracker

Say = Callable[[str], None]
Track = Callable[[Mapping[str, Any]], None]  # takes a record of metrics.jsonl
_WITHOUT = ("kind", "step")


def load_trackers(names: Sequence[str]) -> dict[str, OpenTracker]:
    """By name. Raises ConfigError for an unknown one, or one whose package is missing."""
    return {name: plugin_manager.get_tracker(name)() for name in names}


@contextmanager
def tracked(
    trackers: Mapping[str, OpenTracker], folder: Path, config: Mapping[str, Any], step: int, say: Say
) -> Iterator[Track]:
    """Opens the trackers and closes them when the block ends, however it does. step: at which the training begins.

    One that fails is left out with a warning: no tracker ends a training.
    """
    running: dict[str, Tracker] = {}

    def attempt(name: str, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # whatever a third party's code raises
            running.pop(name, None)
            say(
                f"warning: tracker {name} failed ({type(error).__name__}: {first_line(error)}); the training goes on without it"
            )

    def start(name: str, open_tracker: OpenTracker) -> None:
        running[name] = open_tracker(folder, config, step)

    def track(record: Mapping[str, Any]) -> None:
        values = numbers_of(record)
        for name, tracker in list(running.items()):
            attempt(name, lambda tracker=tracker: tracker.log(int(record["step"]), values))  # type: ignore[misc]

    for name, open_tracker in trackers.items():
        attempt(name, lambda name=name, open_tracker=open_tracker: start(name, open_tracker))  # type: ignore[misc]
    try:
        yield track
    finally:
        for name, tracker in list(running.items()):
            attempt(name, tracker.close)


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record by name; those of `top1_at` as `top1/depth 12`."""
    values: dict[str, float] = {}
    for name, value in record.items():
        if name == "top1_at":
            values |= {f"top1/depth {depth}": float(score) for depth, score in value.items()}
        elif name not in _WITHOUT and type(value) in (int, float) and math.isfinite(value):
            values[name] = float(value)
    return values
