"""What ranks beside the first print: it goes into the run folder, so that there is one screen. Empty files are taken away again."""

from __future__ import annotations

import contextlib
from pathlib import Path

_BOTH = 3  # torchrun's number for stdout and stderr


def log_folder(run_folder: Path, node: int | None) -> Path:
    """Of one node: several may share the run folder."""
    return run_folder / "logs" / f"node-{node or 0}"


def log_arguments(logs: Path, gpus: int) -> list[str]:
    """torchrun's options: what local ranks from 1 on print goes below `logs`."""
    if gpus == 1:
        return []
    return [f"--log-dir={logs}", "--redirects=" + ",".join(f"{rank}:{_BOTH}" for rank in range(1, gpus))]


def remove_empty(logs: Path) -> None:
    """Files and folders in which nothing stands, up to the run folder."""
    for path in sorted(logs.rglob("*"), reverse=True):  # what is in a folder before the folder
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()
            elif path.stat().st_size == 0:
                path.unlink()
    with contextlib.suppress(OSError):
        for folder in (logs, logs.parent, logs.parent.parent):
            folder.rmdir()


def written_logs(logs: Path) -> str:
    """` (its output: ...)` where there is some; or nothing."""
    written = [file for file in logs.rglob("*.log") if file.stat().st_size]
    return f" (its output: {max(written, key=lambda file: file.stat().st_mtime)})" if written else ""
