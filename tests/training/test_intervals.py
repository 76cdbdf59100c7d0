"""Checkpoints beside those of the epochs: every N steps or minutes; they change nothing but the disk."""

import time

import pytest

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tests.training.test_resume import same, stop_at
from tleg_cli.errors import ConfigError, Preempted
from tleg_cli.training.signals import Interval
from tleg_cli.training.train_aux import train_aux


def test_every_two_steps_and_the_weights_stay_the_same(tmp_path, teacher):
    seen: set[str] = set()
    look = Onlooker(lambda step: seen.update(path.name for path in (tmp_path / "often/checkpoints").glob("step-*")))
    train_aux(tiny_config("aux.epochs=2", "aux.checkpoint_every=2", teacher=teacher), tmp_path / "often", ALONE, look)
    expected = (2, 4, STEPS, 6, 8)
    assert {f"step-{step:08d}" for step in expected} <= seen
    train_aux(tiny_config("aux.epochs=2", teacher=teacher), tmp_path / "plain", ALONE, Onlooker())
    assert same(tmp_path / "often" / "learngene.pt", tmp_path / "plain" / "learngene.pt")


def test_it_may_change_from_one_start_to_the_next(tmp_path, teacher):
    with pytest.raises(Preempted):
        train_aux(tiny_config("aux.checkpoint_every=1", teacher=teacher), tmp_path, ALONE, stop_at(3))
    changed = tiny_config("aux.checkpoint_every=30m", "aux.on_nan=skip:3", teacher=teacher)
    look = Onlooker()
    train_aux(changed, tmp_path, ALONE, look)
    assert look.steps[0] == 4


def test_by_steps_and_by_the_clock():
    assert [step for step in range(1, 10) if Interval("3").due_by_step(step)] == [3, 6, 9]
    assert not Interval(None).due_by_step(1)
    assert not Interval("30m").due_by_clock()
    assert not Interval("30m", saved=time.monotonic() - 1799).due_by_clock()
    assert Interval("30m", saved=time.monotonic() - 1801).due_by_clock()


@pytest.mark.parametrize("every", ["0", "0m", "-5", "30 m", "30s", "1.5", "m", "''", "[1]"])
def test_intervals_that_cant_be(every):
    with pytest.raises(ConfigError, match=r"aux\.checkpoint_every"):
        tiny_config(f"aux.checkpoint_every={every}")
