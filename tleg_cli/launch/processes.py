"""How many processes a run has and where, and how none of them outlives the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass

from tleg_cli.errors import ConfigError, TlegError

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


def check_device(processes: Processes) -> None:
    """Raises ConfigError unless this machine has what these processes are to run on."""
    if processes.device == "cuda":
        check_cuda(processes.gpus)


def check_cuda(gpus: int) -> None:
    """Raises ConfigError unless this machine has that many GPUs."""
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("no CUDA GPU is available here; add --device cpu to train on the processor")
    if torch.cuda.device_count() < gpus:
        raise ConfigError(f"--gpus {gpus}, but this machine has {torch.cuda.device_count()}")


def die_with(parent: int) -> None:
    """In a child of the process `parent`: asks Linux to kill it when its parent dies. Does nothing on other systems."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def started_by_tleg() -> bool:
    """Whether this process is a rank that `tleg --gpus N` has started."""
    return os.environ.get(LAUNCHER) == str(os.getppid())


def die_with_launcher() -> None:
    """In a rank: without its launcher it would train on unseen, in a locked run folder. Does nothing under torchrun alone."""
    if started_by_tleg():
        die_with(os.getppid())
    elif LAUNCHER in os.environ:
        raise TlegError(
            f"the process {os.environ[LAUNCHER][:40]!r} that started this rank ({LAUNCHER}) has ended; "
            f"if this is not a rank, run: unset {LAUNCHER}"
        )
