"""The watchdog, with processes that really die, stop or are suspended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tleg_cli.errors import ConfigError
from tleg_cli.launch import heartbeat as heartbeats
from tleg_cli.launch.heartbeat import Heartbeat, hang_timeout, heartbeat, read_heartbeats, report_activity
from tleg_cli.launch.watchdog import Watchdog, Watched, silent, stuck, watched

BEAT = """
import sys, time
from tleg_cli.launch.heartbeat import heartbeat, report_activity
with heartbeat(int(sys.argv[1])):
    report_activity("computing", 7)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(heartbeats.ERROR_FOLDER, str(tmp_path))
    monkeypatch.setenv(heartbeats.HANG_TIMEOUT, "1")
    return tmp_path


@pytest.fixture
def rank(folder):
    """A process that sends the heartbeats of rank 3."""
    process = subprocess.Popen([sys.executable, "-c", BEAT, "3"])
    deadline = time.monotonic() + 60
    while not any(one.step == 7 for one, _ in read_heartbeats(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_a_rank_whose_heart_beats_is_left_alone(folder, rank):
    said = []
    dog = Watchdog(folder, said.append, timeout=5)
    for _ in range(4):
        time.sleep(0.15)
        dog.check(1.2)
    assert said == []
    assert rank.poll() is None


def test_a_stopped_rank_is_named_and_killed(folder, rank):
    said = []
    dog = Watchdog(folder, said.append)
    dog.check(0)
    os.kill(rank.pid, signal.SIGSTOP)
    time.sleep(0.3)
    dog.check(0)
    dog.check(1.1)
    assert rank.wait(timeout=10) == -signal.SIGKILL
    assert said == ["rank 3 made no progress for 1 s (step 7, computing) and was killed"]
    assert dog.killed == {3: said[0]}
    dog.check(1.1)
    assert len(said) == 1


def test_a_rank_that_was_killed_is_reported_once(folder, rank):
    said = []
    dog = Watchdog(folder, said.append)
    dog.check(0)
    rank.kill()
    time.sleep(0.1)  # a zombie, which is dead
    dog.check(0)
    dog.check(0)
    assert said == ["rank 3 died at step 7 (computing)"]
    assert dog.killed == {}


def test_a_rank_that_ends_well_is_not_reported(folder, rank):
    said = []
    dog = Watchdog(folder, said.append)
    dog.check(0)
    rank.kill()
    rank.wait()
    for file in folder.glob("heartbeat-*"):  # as a rank does at its end
        file.unlink()
    dog.check(5)
    assert said == []


def test_the_time_in_which_the_watchdog_itself_was_suspended_does_not_count(folder, rank, monkeypatch):
    """Both wake together, but the watchdog may look first: with the clocks an hour further, and the heartbeat as it was."""
    monkeypatch.setenv(heartbeats.HANG_TIMEOUT, "5")
    said, clock = [], time.monotonic
    with watched(folder, said.append, restarts=False) as dog:
        time.sleep(0.7)
        os.kill(rank.pid, signal.SIGSTOP)
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 3600)
        time.sleep(0.7)
        os.kill(rank.pid, signal.SIGCONT)
        time.sleep(0.7)
    assert said == []
    assert 0 < dog.awake < 5
    assert rank.poll() is None


def one(rank: int, step: int, doing: str, progressed: float, heard: float = 0.0) -> Watched:
    return Watched(Heartbeat(rank, 1, step, doing, 0), 0, heard, progressed)


def ranks(found: list[Heartbeat]) -> list[int]:
    return [beat.rank for beat in found]


def test_a_rank_without_heartbeats_is_silent():
    assert ranks(silent([one(0, 5, "computing", 0, heard=99), one(1, 5, "computing", 99, heard=80)], 100, 10)) == [1]


def test_a_rank_behind_the_others_is_stuck_and_those_that_wait_for_it_are_not():
    assert ranks(stuck([one(0, 5, "computing", 0), one(1, 5, "waiting for data", 0)], 100, 10)) == [1]
    assert ranks(stuck([one(0, 6, "waiting for data", 0), one(1, 5, "computing", 0)], 100, 10)) == [1]
    assert ranks(stuck([one(0, 5, "computing", 0), one(1, 5, "computing", 0)], 100, 10)) == [0, 1]


def test_no_rank_is_stuck_while_one_makes_progress_or_still_starts():
    assert stuck([one(0, 5, "computing", 95), one(1, 4, "computing", 0)], 100, 10) == []
    assert stuck([one(0, 0, "starting", 0), one(1, 0, "starting", 0)], 100, 10) == []
    assert stuck([], 100, 10) == []


def test_a_heartbeat_is_removed_after_success_and_stays_after_an_error(folder):
    with heartbeat(0):
        report_activity("scoring", 4)
    assert read_heartbeats(folder) == []
    with pytest.raises(ValueError, match="lost"), heartbeat(0):
        raise ValueError("lost")
    time.sleep(0.3)
    assert [found.rank for found, _ in read_heartbeats(folder)] == [0]


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.5", 12.5), ("1", 1), ("", 300), ("inf", float("inf")), ("1e9", 1e9)]
)
def test_the_timeout_of_the_environment(monkeypatch, text, seconds):
    monkeypatch.setenv(heartbeats.HANG_TIMEOUT, text)
    assert hang_timeout() == seconds


@pytest.mark.parametrize("text", ["0", "-1", "nan", "soon", "1e-400", "0x10", "-inf", "9" * 9000 + "x", "1 2"])
def test_a_wrong_timeout_is_an_error_that_shows_it(monkeypatch, text):
    monkeypatch.setenv(heartbeats.HANG_TIMEOUT, text)
    with pytest.raises(ConfigError, match="write a number of seconds from 1 up, or inf for no limit") as wrong:
        hang_timeout()
    assert text[:30] in str(wrong.value)
    assert len(str(wrong.value)) < 200


def test_an_error_that_a_rank_has_left_stops_torchrun_if_it_would_start_again(folder, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    (folder / "000000.json").write_text("{}")
    Watchdog(folder, print).check(0)
    assert sent == []
    dog = Watchdog(folder, print, restarts=True)
    dog.check(0)
    dog.check(0)
    assert sent == [(os.getpid(), signal.SIGTERM)]
