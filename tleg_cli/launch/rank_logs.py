"""The output of ranks other than the first goes into the run folder, so that one rank has the screen. Empty files go."""

from __future__ import annotations

import contextlib
from pathlib import Path

_STDOUT_AND_STDERR = 3  # torchrun's number for both


def log_folder(run_folder: Path, node: int | None) -> Path:
    """The folder of one node: several may share the run folder."""
    return run_folder / "logs" / f"node-{node or 0}"


def log_arguments(logs: Path, gpus: int) -> list[str]:
    """torchrun's options: the output of local ranks from 1 on goes below `logs`."""
    if gpus == 1:
        return []
    return [f"--log-dir={logs}", "--redirects=" + ",".join(f"{rank}:{_STDOUT_AND_STDERR}" for rank in range(1, gpus))]


def remove_empty(logs: Path) -> None:
    """Removes empty files and folders, up to the run folder."""
    for path in sorted(logs.rglob("*"), reverse=True):  # the content of a folder before the folder
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()
            elif path.stat().st_size == 0:
                path.unlink()
    with contextlib.suppress(OSError):
        for folder in (logs, logs.parent, logs.parent.parent):
            folder.rmdir()


def written_logs(logs: Path) -> str:
    """` (its output: ...)` if there is any, else an empty string."""
    written = [file for file in logs.rglob("*.log") if file.stat().st_size]
    return f" (its output: {max(written, key=lambda file: file.stat().st_mtime)})" if written else ""
