"""The launcher watches its ranks: a rank that dies is reported, one that hangs is killed, so that torchrun can go on.

Time is what the watchdog itself was awake for, and heartbeats are only compared with the ones before. So a job that is
suspended (Ctrl-Z, a paused virtual machine, a laptop that sleeps) goes on when it wakes, and no clock matters that is set.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tleg_cli.launch.heartbeat import STARTING, Heartbeat, hang_timeout, interval, read_heartbeats
from tleg_cli.launch.rank_errors import any_error


@dataclass
class Watched:
    """A rank as the watchdog knows it. heard, progressed: seconds that the watchdog had been awake for."""

    last: Heartbeat
    number: int
    heard: float
    progressed: float


@dataclass
class Watchdog:
    """killed: a line for each rank that hung. finished: processes that are dead, and were reported."""

    folder: Path
    say: Callable[[str], None]
    restarts: bool = False  # whether torchrun would start the ranks again
    timeout: float = field(default_factory=hang_timeout)
    awake: float = 0.0
    giving_up: bool = False
    killed: dict[int, str] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    ranks: dict[int, Watched] = field(default_factory=dict)  # by process

    def check(self, passed: float) -> None:
        """Kills ranks that hang, and stops torchrun if starting again can't help. passed: seconds awake since the last check."""
        self.awake += passed
        if self.restarts and not self.giving_up and any_error(self.folder):
            self.giving_up = True
            os.kill(os.getpid(), signal.SIGTERM)  # a rank has reported a mistake, or that it was preempted
        self._listen()
        self._report_dead()
        living = list(self.ranks.values())
        for rank in silent(living, self.awake, self.timeout) or stuck(living, self.awake, self.timeout):
            self._kill(rank)

    def _listen(self) -> None:
        found = [(beat, number) for beat, number in read_heartbeats(self.folder) if beat.pid not in self.finished]
        for ended in self.ranks.keys() - {beat.pid for beat, _ in found}:  # it has removed its heartbeat: all is well
            del self.ranks[ended]
        for beat, number in found:
            known = self.ranks.setdefault(beat.pid, Watched(beat, number, self.awake, self.awake))
            if number != known.number:
                known.number, known.heard = number, self.awake
            if (beat.step, beat.changes) != (known.last.step, known.last.changes):
                known.progressed = self.awake
            known.last = beat

    def _report_dead(self) -> None:
        for pid in [pid for pid in self.ranks if not _lives(pid)]:
            last = self.ranks.pop(pid).last
            self.finished.add(pid)
            if not any_error(self.folder):  # otherwise the reason is printed once, at the end
                self.say(f"rank {last.rank} died at step {last.step} ({last.doing})")

    def _kill(self, rank: Heartbeat) -> None:
        line = f"rank {rank.rank} made no progress for {self.timeout:.0f} s (step {rank.step}, {rank.doing}) and was killed"
        del self.ranks[rank.pid]
        self.finished.add(rank.pid)
        self.killed[rank.rank] = line
        self.say(line)
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank.pid, signal.SIGKILL)


def silent(ranks: Sequence[Watched], awake: float, timeout: float) -> list[Heartbeat]:
    """Ranks that write no heartbeat any more: stopped, or swapped out."""
    return [rank.last for rank in ranks if awake - rank.heard > timeout]


def stuck(ranks: Sequence[Watched], awake: float, timeout: float) -> list[Heartbeat]:
    """If no rank makes progress: those behind the others, which wait for them; all of them if none is behind."""
    if not ranks or any(rank.last.doing == STARTING or awake - rank.progressed <= timeout for rank in ranks):
        return []

    def reached(beat: Heartbeat) -> tuple[int, bool]:
        return beat.step, beat.doing != "waiting for data"  # a rank with its images waits for one without

    least = min(reached(rank.last) for rank in ranks)
    return [rank.last for rank in ranks if reached(rank.last) == least]


def _lives(pid: int) -> bool:
    """A zombie is dead, though its parent has not noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def watched(folder: Path, say: Callable[[str], None], *, restarts: bool) -> Iterator[Watchdog]:
    """A Watchdog that checks every second, or more often if the timeout is short, until the block ends."""
    dog, over = Watchdog(folder, say, restarts), threading.Event()
    pause = interval(dog.timeout)

    def keep_checking() -> None:
        before = time.monotonic()
        while not over.wait(pause):
            now = time.monotonic()
            dog.check(min(now - before, 2 * pause))  # a longer pause is one in which this process was suspended
            before = now

    thread = threading.Thread(target=keep_checking, daemon=True, name="tleg-watchdog")
    thread.start()
    try:
        yield dog
    finally:
        over.set()
        thread.join()
