"""Commands as processes of their own that tests kill, stop and start again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.tiny import as_options

COMMON = ("--preset", "digits", "--device", "cpu", "--data", "digits")


def aux_command(
    teacher: Path, out: Path, *options: object, epochs: int = 3, batch_size: int = 256, settings: tuple[str, ...] = ()
) -> list[str]:
    """`tleg train-aux` on the tiny digits, with augmentation, dropout and EMA: all that a checkpoint must hold."""
    settings = as_options(
        "aux.drop_path=0.1", "aux.ema_decay=0.9", f"aux.epochs={epochs}", f"aux.batch_size={batch_size}", *settings
    )
    return [str(word) for word in ("train-aux", *COMMON, "--teacher", teacher, *settings, "--out", out, *options)]


def start(arguments: list[str], err: Path, **environment: str) -> subprocess.Popen[str]:
    """The command in the background; what it says is added to `err`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tleg_cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=err.open("a"),
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def wait_until(true: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 120) -> bool:
    """Whether it came true in time, and before `process` ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        if process is not None and process.poll() is not None:
            return False
        time.sleep(0.001)
    return False


def children(process: subprocess.Popen[str]) -> list[int]:
    """The ranks that a launcher has started."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return []


def alive(pids: list[int]) -> list[int]:
    """Those of them that run; a zombie doesn't."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(pid)
    return found


def descendants(process: subprocess.Popen[str]) -> list[int]:
    """Ranks and what they have started."""
    found, todo = [], [process.pid]
    while todo:
        with contextlib.suppress(OSError):
            new = [int(pid) for task in Path(f"/proc/{todo.pop()}/task").iterdir() for pid in _words(task / "children")]
            found += new
            todo += new
    return found


def _words(file: Path) -> list[str]:
    return file.read_text().split()


def saved(out: Path) -> list[Path]:
    """The checkpoints of a run."""
    return sorted((out / "checkpoints").glob("step-*"))


def learngenes(out: Path) -> dict[str, torch.Tensor]:
    """All tensors of both results of a run."""
    found = {}
    for name in ("learngene.pt", "learngene_ema.pt"):
        content = torch.load(out / name, weights_only=True)
        for part in ("theta", "shared"):
            found |= {f"{name}/{part}/{key}": value for key, value in content[part].items()}
    return found


def same_weights(one: Path, other: Path) -> bool:
    """Bitwise."""
    ours, theirs = learngenes(one), learngenes(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
