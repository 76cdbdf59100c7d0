"""Whether a step's values were finite, read by the host some steps later, so that it never waits for the device.

The device itself leaves a bad step out (see step.py); the host only has to hear of it, to name the step and to act as on_nan says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tleg_cli.training.step import StepResult

LAG = 4  # steps: by then the device has finished the step, unless the host is far ahead of it


@dataclass(frozen=True)
class Checked:
    """A step whose flag can be read by now. step, lr: as it was taken."""

    step: int
    lr: float
    result: StepResult
    bad: bool


@dataclass(frozen=True)
class _Waiting:
    step: int
    lr: float
    result: StepResult
    place: int
    arrived: torch.cuda.Event | None


class LateChecks:
    """The flags and losses of the last steps, on their way to the host."""

    def __init__(self, device: torch.device):
        self._host = torch.zeros(LAG + 1, 2, pin_memory=device.type == "cuda")
        self._values = self._host.numpy()  # the same memory
        self._waiting: deque[_Waiting] = deque()
        self._next = 0
        self.loss: Tensor | None = None  # of the newest checked step, on the host

    def add(self, step: int, lr: float, result: StepResult) -> None:
        """Sends the result of a step to the host, without waiting. At most LAG + 1 may be under way: read `ripe` after each."""
        place, self._next = self._next, (self._next + 1) % len(self._host)
        assert result.flag is not None
        assert len(self._waiting) < len(self._host)
        self._host[place].copy_(torch.stack([result.flag, result.loss.float()]), non_blocking=True)
        arrived = None
        if result.loss.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append(_Waiting(step, lr, result, place, arrived))

    def ripe(self, *, all_of_them: bool = False) -> Iterator[Checked]:
        """The steps that were taken at least LAG steps ago, in order, each once; or all, for which the host waits."""
        while self._waiting and (all_of_them or len(self._waiting) > LAG):
            one = self._waiting.popleft()
            if one.arrived is not None:
                one.arrived.synchronize()
            flag, loss = (float(value) for value in self._values[one.place])
            self.loss = torch.tensor(loss)
            yield Checked(one.step, one.lr, one.result, flag > 0)
