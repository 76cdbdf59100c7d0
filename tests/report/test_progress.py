"""What is shown without a terminal: a line every 30 seconds, and the loss is read only for a line that is shown."""

import io

import pytest
import torch
from rich.console import Console

from tleg_cli.report import progress
from tleg_cli.report.progress import Screen, _duration
from tleg_cli.training.optim import Budget


class Loss:
    """Counts how often it is read: each reading waits for the device."""

    def __init__(self) -> None:
        self.read = 0

    def __float__(self) -> float:
        self.read += 1
        return 0.25


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_30_seconds_with_step_loss_rate_speed_and_time_left(clock):
    out, loss = io.StringIO(), Loss()
    screen = Screen(console=Console(file=out, soft_wrap=True))
    screen.start(Budget(1000, 10, 100, 2, 0.1), done=20)
    for step in range(21, 81):
        clock[0] += 1
        screen.step(step, loss, 0.05)  # type: ignore[arg-type]
    screen.stop()
    lines = out.getvalue().splitlines()[1:]
    assert lines == [
        "step 50 of 200  loss 0.2500  lr 0.05  10 images/s  2 min left",
        "step 80 of 200  loss 0.2500  lr 0.05  10 images/s  2 min left",
    ]
    assert loss.read == 2


def test_scoring_is_not_silent_either_and_other_ranks_show_nothing(clock):
    for quiet in (False, True):
        out = io.StringIO()
        screen = Screen(quiet=quiet, console=Console(file=out, soft_wrap=True))
        screen.start(Budget(1000, 10, 100, 2, 0.1), done=0)
        clock[0] += 31
        screen.scoring(7, 391)
        clock[0] += 31
        screen.step(1, torch.tensor(1.0), 0.1)
        assert out.getvalue().splitlines()[1:2] == ([] if quiet else ["scoring: 7 of 391 batches"])


def test_times_in_words():
    assert [_duration(seconds) for seconds in (4, 59, 61, 3599, 3600, 11_100)] == [
        "4 s", "59 s", "1 min", "1 h 00 min", "1 h 00 min", "3 h 05 min"
    ]  # fmt: skip
