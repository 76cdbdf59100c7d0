"""The launcher's eye on its ranks: one that dies is told, one that hangs is named and ended, so that torchrun can go on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tleg_cli.launch.heartbeat import Pulse, hang_timeout, read_pulses

_FREE = "starting"  # downloads and compilers may take as long as they like, if the process lives


@dataclass
class Watchdog:
    """ended: what was said of ranks that hung, by rank. told: processes whose death was told."""

    folder: Path
    say: Callable[[str], None]
    restarts: bool = False  # whether torchrun would start the ranks again
    timeout: float = field(default_factory=hang_timeout)
    over: bool = False
    ended: dict[int, str] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)

    def look(self, now: float) -> None:
        """Ends what hangs, and torchrun where starting again can't help. now: seconds of time.time()."""
        if self.restarts and not self.over and any(self.folder.glob("*.json")):
            self.over = True
            os.kill(os.getpid(), signal.SIGTERM)  # a rank has named its mistake, or that it was preempted
        pulses = [(pulse, beat) for pulse, beat in read_pulses(self.folder) if pulse.pid not in self.told]
        for pulse, _ in pulses:
            if not _lives(pulse.pid):
                self.told.add(pulse.pid)
                if not any(
                    self.folder.glob("*.json")
                ):  # else a rank has named its mistake, which is told once, at the end
                    self.say(f"rank {pulse.rank} has died at step {pulse.step} ({pulse.doing})")
        living = [(pulse, beat) for pulse, beat in pulses if pulse.pid not in self.told]
        for pulse in frozen(living, now, self.timeout) or stuck(living, now, self.timeout):
            self.told.add(pulse.pid)
            line = (
                f"rank {pulse.rank} hung: nothing was heard of it for {self.timeout:.0f} s (step {pulse.step}, {pulse.doing}); "
                "it was ended"
            )
            self.ended[pulse.rank] = line
            self.say(line)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pulse.pid, signal.SIGKILL)


def frozen(pulses: Sequence[tuple[Pulse, float]], now: float, timeout: float) -> list[Pulse]:
    """Processes that write no pulse any more: stopped, or swapped out."""
    return [pulse for pulse, beat in pulses if now - beat > timeout]


def stuck(pulses: Sequence[tuple[Pulse, float]], now: float, timeout: float) -> list[Pulse]:
    """Where no rank has got on: those that are behind the others, since these wait for them; all, if none is behind."""
    if not pulses or any(pulse.doing == _FREE or now - pulse.since <= timeout for pulse, _ in pulses):
        return []

    def reached(pulse: Pulse) -> tuple[int, bool]:
        return pulse.step, pulse.doing != "waiting for data"  # who has its images waits for who hasn't

    least = min(reached(pulse) for pulse, _ in pulses)
    return [pulse for pulse, _ in pulses if reached(pulse) == least]


def _lives(pid: int) -> bool:
    """A zombie is dead, though its parent hasn't noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def watched(folder: Path, say: Callable[[str], None], *, restarts: bool) -> Iterator[Watchdog]:
    """A Watchdog that looks every second, or more often where the time-out is short, until the block ends."""
    dog, over = Watchdog(folder, say, restarts), threading.Event()

    def keep_looking() -> None:
        while not over.wait(min(1.0, dog.timeout / 10)):
            dog.look(time.time())

    thread = threading.Thread(target=keep_looking, daemon=True, name="tleg-watchdog")
    thread.start()
    try:
        yield dog
    finally:
        over.set()
        thread.join()
