"""The launcher's eye on its ranks, with processes that really die or stop."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tleg_cli.launch import heartbeat as pulses
from tleg_cli.launch.heartbeat import Pulse, hang_timeout, mark, pulse, read_pulses
from tleg_cli.launch.watchdog import Watchdog, frozen, stuck

BEAT = """
import sys, time
from tleg_cli.launch.heartbeat import mark, pulse
with pulse(int(sys.argv[1])):
    mark("computing", 7)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(pulses.ERROR_FOLDER, str(tmp_path))
    monkeypatch.setenv(pulses.HANG_TIMEOUT, "1")
    return tmp_path


@pytest.fixture
def rank(folder):
    """A process that shows the pulse of rank 3."""
    process = subprocess.Popen([sys.executable, "-c", BEAT, "3"])
    deadline = time.monotonic() + 60
    while not any(one.step == 7 for one, _ in read_pulses(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def after(seconds: float) -> float:
    return time.time() + seconds


def test_a_rank_that_beats_is_left_alone(folder, rank):
    said = []
    Watchdog(folder, said.append).look(time.time())
    assert said == []
    assert rank.poll() is None


def test_a_stopped_rank_is_named_and_ended(folder, rank):
    said = []
    os.kill(rank.pid, signal.SIGSTOP)
    time.sleep(1.5)
    dog = Watchdog(folder, said.append)
    dog.look(time.time())
    assert rank.wait(timeout=10) == -signal.SIGKILL
    assert said == ["rank 3 hung: nothing was heard of it for 1 s (step 7, computing); it was ended"]
    assert dog.ended == {3: said[0]}
    dog.look(time.time())
    assert len(said) == 1


def test_a_killed_rank_is_told_once(folder, rank):
    said = []
    rank.kill()
    time.sleep(0.1)  # a zombie, which is dead
    dog = Watchdog(folder, said.append)
    dog.look(time.time())
    dog.look(time.time())
    assert said == ["rank 3 has died at step 7 (computing)"]
    assert dog.ended == {}


def one(rank: int, step: int, doing: str, since: float, beat: float = 0.0) -> tuple[Pulse, float]:
    return Pulse(rank, 1, step, doing, since), beat


def ranks(found: list[Pulse]) -> list[int]:
    return [pulse.rank for pulse in found]


def test_who_writes_nothing_is_frozen():
    assert ranks(frozen([one(0, 5, "computing", 0, beat=99), one(1, 5, "computing", 99, beat=80)], 100, 10)) == [1]


def test_who_is_behind_is_stuck_and_who_waits_for_it_is_not():
    assert ranks(stuck([one(0, 5, "computing", 0), one(1, 5, "waiting for data", 0)], 100, 10)) == [1]
    assert ranks(stuck([one(0, 6, "waiting for data", 0), one(1, 5, "computing", 0)], 100, 10)) == [1]
    assert ranks(stuck([one(0, 5, "computing", 0), one(1, 5, "computing", 0)], 100, 10)) == [0, 1]


def test_nobody_is_stuck_while_one_gets_on_or_still_starts():
    assert stuck([one(0, 5, "computing", 95), one(1, 4, "computing", 0)], 100, 10) == []
    assert stuck([one(0, 0, "starting", 0), one(1, 0, "starting", 0)], 100, 10) == []
    assert stuck([], 100, 10) == []


def test_a_pulse_goes_when_all_is_well_and_stays_when_not(folder):
    with pulse(0):
        mark("scoring", 4)
    assert read_pulses(folder) == []
    with pytest.raises(ValueError, match="lost"), pulse(0):
        raise ValueError("lost")
    time.sleep(0.3)
    assert [found.rank for found, _ in read_pulses(folder)] == [0]


@pytest.mark.parametrize(("text", "seconds"), [("12.5", 12.5), ("0", 300), ("-1", 300), ("soon", 300), ("", 300)])
def test_the_timeout_of_the_environment(monkeypatch, text, seconds):
    monkeypatch.setenv(pulses.HANG_TIMEOUT, text)
    assert hang_timeout() == seconds


def test_a_mistake_that_a_rank_has_named_ends_torchrun_where_it_would_start_again(folder, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    (folder / "000000.json").write_text("{}")
    Watchdog(folder, print).look(time.time())
    assert sent == []
    dog = Watchdog(folder, print, restarts=True)
    dog.look(time.time())
    dog.look(time.time())
    assert sent == [(os.getpid(), signal.SIGTERM)]
