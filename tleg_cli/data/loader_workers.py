"""The worker processes of a loader: how batches reach this process, and what happens when a worker dies.

torch sends batches through shared memory, which Docker limits to 64 MB. If that is too little, batches go through pipes: the same
pixels, a little slower. Without any shared memory, no workers are started. Neither changes a result.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils import signal_handling

from tleg_cli.errors import DataError
from tleg_cli.launch.processes import die_with

SHARED_MEMORY = "/dev/shm"
PREFETCH = 2  # batches that each worker makes ahead
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_SECONDS_TO_DIE = 2.0
_MEGABYTE = 1 << 20

_log = logging.getLogger("tleg")


@dataclass(frozen=True)
class Transfer:
    """How many workers there can be, and whether their batches go through shared memory or through pipes."""

    workers: int
    shared: bool


def choose_transfer(workers: int, batch_bytes: int, *, rank: int, processes: int) -> Transfer:
    """What /dev/shm has room for, with a warning of rank 0 if that isn't what was asked for.

    processes: ranks of this run. Half of the free space is left to them and to others, since the space is only used later.
    """
    if workers == 0:
        return Transfer(0, shared=False)
    if (refusal := _no_semaphores()) is not None:
        _warn_once(
            rank, f"no worker processes can run here ({refusal}); images are read in the main process (workers=0)"
        )
        return Transfer(0, shared=False)
    needed = (PREFETCH * workers + 2) * batch_bytes * _processes_here(processes)
    free = _free_bytes()
    if needed <= free // 2:
        return Transfer(workers, shared=True)
    _warn_once(
        rank,
        f"{SHARED_MEMORY} has {free // _MEGABYTE} MB free, and {workers} loader workers need up to {-(-needed // _MEGABYTE)} MB; "
        "batches go through pipes instead, which is slower. To avoid that, lower data.workers or enlarge it "
        f"(docker run --shm-size={-(-4 * needed // (1 << 30))}g)",
    )
    return Transfer(workers, shared=False)


def _no_semaphores() -> str | None:
    """Why the queues of worker processes can't be made, None if they can: their semaphores are files in /dev/shm."""
    try:
        multiprocessing.get_context().Lock()
    except (OSError, ImportError) as error:
        return f"{SHARED_MEMORY}: {getattr(error, 'strerror', None) or error}"
    return None


def _processes_here(processes: int) -> int:
    """Ranks on this machine, as torchrun counts them."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(local) if local.isdecimal() and 0 < int(local) <= processes else processes


def _free_bytes() -> int:
    if not sys.platform.startswith("linux"):
        return sys.maxsize  # no file system, and no limit that docker sets
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return 0


def _warn_once(rank: int, text: str) -> None:
    if rank == 0:
        _warn(text)


@cache
def _warn(text: str) -> None:
    _log.warning("warning: %s", text)


def start_worker(parent: int, in_main_thread: bool, _: int) -> None:
    """In a new worker: only its parent decides when it ends, and it never outlives it.

    A signal to the process group, as Ctrl-C sends it, would take the worker from a run that wants to write a checkpoint; and an
    orphan would keep the lock of the run folder, which it has inherited.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if in_main_thread:  # Linux would end the worker with the thread that has started it
        die_with(parent)


@dataclass(frozen=True)
class Send:
    """The last thing that a worker does with a batch: into shared memory, or if it is full as an array through its pipe."""

    shared: bool

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, DataError) or get_worker_info() is None:
            return batch
        if self.shared:
            with contextlib.suppress(
                RuntimeError
            ):  # no space left; torch would otherwise find out in a thread, and lose the batch
                return tuple(tensor.share_memory_() for tensor in batch)
        images, labels = batch
        return images.permute(0, 2, 3, 1).numpy(), labels.numpy()


def received(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch as it was before Send, with the same layout in memory. Raises the DataError that was sent in its place."""
    if isinstance(batch, DataError):
        raise batch
    images, labels = batch
    if isinstance(images, np.ndarray):
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)
    return images, labels


class _WorkerDied(Exception):
    """Raised by our handler of SIGCHLD."""


@contextlib.contextmanager
def watched(workers: Sequence[Any]) -> Iterator[None]:
    """While the block waits for a batch, a worker that dies raises DataError at once: what it was sending would never be complete.

    torch's own handler of SIGCHLD would raise anywhere, in the middle of a training step too.
    """
    try:
        with _interrupted_by_children(workers):
            _check(workers)
            yield
    except (_WorkerDied, RuntimeError, EOFError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        lost = isinstance(error, EOFError | ConnectionError)
        if lost:
            _await_exit_codes(workers)
        died = next((worker for worker in workers if worker.exitcode), None)
        if died is None and lost:
            raise
        raise DataError(_why_it_died(died, len(workers))) from error


def _await_exit_codes(workers: Sequence[Any]) -> None:
    """A process that dies closes its files, its sentinel among them, a moment before it has an exit code."""
    closed = wait([worker.sentinel for worker in workers], timeout=_SECONDS_TO_DIE)
    for worker in workers:
        if worker.sentinel in closed:
            worker.join()


def _check(workers: Sequence[Any]) -> None:
    if any(worker.exitcode for worker in workers):
        raise _WorkerDied


@contextlib.contextmanager
def _interrupted_by_children(workers: Sequence[Any]) -> Iterator[None]:
    def on_child(number: int, frame: FrameType | None) -> None:
        _check(workers)

    if not workers or threading.current_thread() is not threading.main_thread():
        yield  # no handler can be set: torch looks after its workers every five seconds
        return
    before = signal.signal(signal.SIGCHLD, on_child)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@contextlib.contextmanager
def starting_workers() -> Iterator[None]:
    """Around the start of workers: no signal reaches them before start_worker, and torch's handler of SIGCHLD is undone (see `watched`)."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _why_it_died(worker: Any, workers: int) -> str:
    code = getattr(worker, "exitcode", None) or 0
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if name == "SIGKILL":
        reason = "was killed (SIGKILL), most likely by the system because memory ran out"
    elif name == "SIGBUS":
        reason = f"was killed (SIGBUS), most likely because {SHARED_MEMORY} is full"
    else:
        reason = f"died ({name})"
    return f"a loader worker {reason}; lower data.workers (now {workers}) or the batch size, and run the same command again"


def end(workers: Sequence[Any]) -> None:
    """Kills workers that are still there; one that hangs on a network drive would keep this process from ending."""
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(1)


def forget(iterator: Any) -> None:
    """Keeps torch from ending the workers of this iterator again, and from waiting for locks that they held when they were killed."""
    if iterator is not None:
        iterator._shutdown = True
        with contextlib.suppress(Exception):  # not a public name
            signal_handling._remove_worker_pids(id(iterator))
