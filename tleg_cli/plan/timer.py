"""Times functions on a device, after one call that isn't counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

now: Callable[[], float] = (
    time.perf_counter
)  # benchmarks count processor time instead, which other programs don't lengthen


@dataclass(frozen=True)
class Part:
    """seconds: of one batch of the global batch's size per process, the median; images: of that batch."""

    name: str
    seconds: float
    images: int

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Timer:
    """Times functions on a device, each for `seconds` or `least` times, after one call that isn't counted."""

    device: torch.device
    seconds: float
    images: int
    least: int = 3

    def part(self, name: str, call: Callable[[], object]) -> Part:
        """The median time of a call."""
        return self.parts({name: call})[0]

    def parts(self, calls: dict[str, Callable[[], object]]) -> list[Part]:
        """Several functions in turn, so that a busy machine slows all of them down."""
        took: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            self._once(call)
        while any(len(times) < self.least or sum(times) < self.seconds for times in took.values()):
            for name, call in calls.items():
                took[name].append(self._once(call))
        return [Part(name, median(times), self.images) for name, times in took.items()]

    def _once(self, call: Callable[[], object]) -> float:
        self._wait()
        began = now()
        call()
        self._wait()
        return now() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
