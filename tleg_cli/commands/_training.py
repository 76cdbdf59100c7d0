"""What every training command does around its one library call: processes, world, screen."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tleg_cli.errors import ConfigError

if TYPE_CHECKING:
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World

    Train = Callable[[World, Screen], dict[str, Any]]


def in_processes(
    processes: Processes,
    out: Path | None,
    torchrun_options: Sequence[str],
    train: Train,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Starts torchrun if several processes are asked for; else trains here, and rank 0 reports."""
    from tleg_cli.launch.launch import launch

    code = launch(processes, out, torchrun_options, say=partial(typer.echo, err=True))
    if code is not None:
        raise typer.Exit(code)
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import join_world

    with join_world(processes.device) as world:
        summary = train(world, Screen(quiet=not world.main))
        if world.main:
            report(summary)


def pick_device(device: str, gpus: int) -> str:
    """`cuda` or `cpu`. `auto` takes the processor only where one process was asked for: N GPUs mean GPUs."""
    if device in ("cuda", "cpu"):
        return device
    if device != "auto":
        raise ConfigError(f"--device {device!r} is unknown; write cuda, cpu or auto")
    import torch

    if torch.cuda.is_available() or gpus > 1 or "LOCAL_RANK" in os.environ:
        return "cuda"
    return "cpu"


def default_out(preset: str, command: str) -> Path:
    """`runs/digits-aux`; for a config file its folder's or its own name stands for the preset."""
    path = Path(preset)
    name = path.stem if path.stem != "config" else path.resolve().parent.name
    return Path("runs") / f"{name}-{command}"
