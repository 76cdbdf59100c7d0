"""The ranks of a run find each other. It waits in Python, not in C++: a Ctrl-C ends it, and long waits are explained."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from tleg_cli.errors import ConfigError, TlegError
from tleg_cli.launch.processes import started_by_tleg
from tleg_cli.launch.rank_environment import NUMBERS, RankEnvironment
from tleg_cli.launch.stop_signals import raise_stop_request

REACHABLE = 120.0  # seconds in which rank 0's address must answer
EXPLAIN_AFTER = 10.0  # seconds


def join_ranks(ranks: RankEnvironment, say: Callable[[str], None]) -> dist.Store:
    """The store that all ranks share, when all of them have come to it.

    Raises ConfigError if nothing answers at MASTER_ADDR, as with the variables of a job that has ended.
    """
    # torchrun keeps its store when it starts the ranks again: without a prefix they would dial those that died
    store = dist.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", _store(ranks, say))
    store.add("joined", 1)
    wait = _Wait(ranks, say, limit=None if started_by_tleg() else 5 * REACHABLE)
    while (joined := store.add("joined", 0)) < ranks.world_size:
        wait.go_on(f"{joined} of {ranks.world_size} ranks have joined")
    return store


def _store(ranks: RankEnvironment, say: Callable[[str], None]) -> dist.Store:
    """Rank 0 hosts it, unless torchrun already does."""
    torchrun_hosts = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    hosts = ranks.rank == 0 and not torchrun_hosts
    if not hosts:
        wait = _Wait(ranks, say, limit=REACHABLE / 4 if torchrun_hosts else REACHABLE)
        while not _answers(ranks):
            wait.go_on(f"nothing answers at {ranks.master_addr}:{ranks.master_port}")
    return dist.TCPStore(
        ranks.master_addr,
        ranks.master_port,
        ranks.world_size,
        is_master=hosts,
        timeout=timedelta(seconds=REACHABLE),
        wait_for_workers=False,
        multi_tenant=hosts,
    )


def _answers(ranks: RankEnvironment) -> bool:
    try:
        socket.create_connection((ranks.master_addr, ranks.master_port), timeout=5).close()
    except OSError:
        return False
    except UnicodeError:  # not a host name
        raise ConfigError(f"MASTER_ADDR={ranks.master_addr[:80]!r} is not a host name; {_unset()}") from None
    return True


class _Wait:
    """A wait for other ranks: explained once, and given up when the time is over."""

    def __init__(self, ranks: RankEnvironment, say: Callable[[str], None], limit: float | None):
        self.ranks, self.say, self.limit = ranks, say, limit
        self.began, self.explained = time.monotonic(), False

    def go_on(self, why: str) -> None:
        """Sleeps a moment. why: what this rank waits for."""
        raise_stop_request()
        waited = time.monotonic() - self.began
        if self.limit is not None and waited > self.limit:
            raise TlegError(f"{self.ranks}: {why} after {waited:.0f} s; start the other ranks, or {_unset()}")
        if waited > EXPLAIN_AFTER and not self.explained:
            self.explained = True
            self.say(f"{self.ranks} is waiting: {why}; {_unset()}")
        time.sleep(0.1)


def _unset() -> str:
    return f"if this is not one of several processes of a job, run: unset {' '.join(NUMBERS)}"
