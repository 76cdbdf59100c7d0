"""How many processes a run has and where, and how none of them outlives the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass

from tleg_cli.errors import ConfigError

LAUNCHER = "TLEG_LAUNCHER"  # the process that a rank must not outlive
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Processes:
    """How many processes and where. nodes > 1 needs an endpoint host:port that every node can reach."""

    gpus: int = 1  # per node; with --device cpu, processes
    device: str = "cuda"
    nodes: int = 1
    node_rank: int | None = None
    rdzv_endpoint: str | None = None
    max_restarts: int = 0
    rdzv_timeout: int = 600  # seconds that nodes wait for each other


def check_cuda(gpus: int) -> None:
    """Raises ConfigError unless this machine has that many GPUs."""
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("no CUDA GPU is available here; add --device cpu to train on the processor")
    if torch.cuda.device_count() < gpus:
        raise ConfigError(f"--gpus {gpus}, but this machine has {torch.cuda.device_count()}")


def die_with(parent: int) -> None:
    """In a child of the process `parent`: asks Linux to kill it when that dies. Elsewhere nothing happens."""
    with contextlib.suppress(AttributeError, OSError):  # no Linux
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def die_with_launcher() -> None:
    """In a rank: it would train on, unseen, in a locked run folder. Nothing happens under somebody else's torchrun."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is not None:
        die_with(int(launcher))
