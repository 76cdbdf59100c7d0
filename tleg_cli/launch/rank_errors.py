"""One line for all ranks: each leaves its error in the launcher's folder, and the launcher prints the first one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tleg_cli.errors import EXIT_PREEMPTED, PeerLost, Preempted, TlegError
from tleg_cli.launch.heartbeat import ERROR_FOLDER
from tleg_cli.launch.processes import started_by_tleg


def leave_for_launcher(error: TlegError) -> bool:
    """In a process that tleg has started: whether the error is left for the launcher to print. Elsewhere False."""
    folder, rank = os.environ.get(ERROR_FOLDER), os.environ.get("RANK", "")
    if not folder or not rank.isdigit() or not started_by_tleg():
        return False
    if isinstance(error, PeerLost):
        return True  # the launcher knows which rank was lost, and why
    content = {"message": str(error), "exit_code": error.exit_code}
    try:
        (Path(folder) / f"{int(rank):06d}.json").write_text(json.dumps(content))
    except OSError:  # the disk is full, or the launcher has gone
        return False
    return True


def any_error(folder: Path) -> bool:
    """Whether a rank has left an error."""
    return any(folder.glob("*.json"))


def raise_first_error(folder: Path, *, preempted: bool = False) -> None:
    """Raises the error of the first rank that failed. preempted: a rank has ended with that code, left an error or not."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    if files:
        content = json.loads(files[0].read_text())
        kind = Preempted if preempted or content["exit_code"] == EXIT_PREEMPTED else TlegError
        raise kind(content["message"]) from None
    if preempted:
        raise Preempted("stopped, and a checkpoint is written; the same command carries on from there")
