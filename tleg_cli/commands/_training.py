"""What every training command does around its one library call: shared options, processes, world, screen."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from tleg_cli.commands import _options as o
from tleg_cli.errors import ConfigError, printable

if TYPE_CHECKING:
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World

    Train = Callable[[World, Screen], Mapping[str, Any]]


@dataclass(frozen=True)
class TrainingOptions:
    """The options that every training command has, each written once."""

    data: o.Data = None
    out: o.Out = None
    gpus: o.Gpus = 1
    device: o.Device = "auto"
    settings: o.Settings = None
    seed: o.Seed = None
    checkpoint_every: o.CheckpointEvery = None
    log_every: o.LogEvery = None
    nodes: o.Nodes = 1
    node_rank: o.NodeRank = None
    rdzv_endpoint: o.Endpoint = None
    rdzv_timeout: o.RdzvTimeout = 600
    max_restarts: o.MaxRestarts = 0
    allow_changed: o.AllowChanged = None
    torchrun_options: o.TorchrunOptions = None
    json: o.Json = False

    def processes(self) -> Processes:
        """How many processes, and where."""
        from tleg_cli.launch.processes import Processes

        return Processes(
            self.gpus,
            pick_device(self.device, self.gpus),
            self.nodes,
            self.node_rank,
            self.rdzv_endpoint,
            self.max_restarts,
            self.rdzv_timeout,
        )


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of TrainingOptions as options on its command line, in place of its parameter `options`."""
    own = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(TrainingOptions, include_extras=True)
    shared = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(TrainingOptions)
    ]

    @wraps(command)
    def with_options(**values: Any) -> None:
        options = TrainingOptions(**{one.name: values.pop(one.name) for one in shared})
        command(**values, options=options)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.values() if one.name != "options"]
    parameters += shared
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


def in_processes(
    processes: Processes,
    out: Path | None,
    torchrun_options: Sequence[str],
    train: Train,
    report: Callable[[Mapping[str, Any]], None],
) -> None:
    """Starts torchrun if several processes are asked for; else trains here, and rank 0 reports, in `out` as a page too."""
    from tleg_cli.launch.launch import launch

    def say(text: str) -> None:
        typer.echo(printable(text), err=True)

    code = launch(processes, out, torchrun_options, say=say)
    if code is not None:
        raise typer.Exit(code)
    from tleg_cli.report.progress import Screen
    from tleg_cli.report.run_page import report_finished
    from tleg_cli.training.distributed import join_world

    with join_world(processes.device, say) as world:
        summary = train(world, Screen(quiet=not world.main))
        if world.main:
            report(summary)
        if world.main and out is not None:
            report_finished(out, say)


def pick_device(device: str, gpus: int) -> str:
    """`cuda` or `cpu`. `auto` uses the CPU only if one process was asked for: N GPUs mean GPUs."""
    if device in ("cuda", "cpu"):
        return device
    if device != "auto":
        raise ConfigError(f"--device {device!r} is unknown; write cuda, cpu or auto")
    import torch

    if torch.cuda.is_available() or gpus > 1 or "LOCAL_RANK" in os.environ:
        return "cuda"
    return "cpu"


def command_line(name: str, *words: object, **options: object) -> str:
    """A command as a shell takes it, options that aren't set left out: command_line("expand", file, depth=6)."""
    given = [word for key, value in options.items() if value is not None for word in (f"--{key}", value)]
    return shlex.join(["tleg", name, *(str(word) for word in (*words, *given))])


def default_out(preset: str, command: str) -> Path:
    """`runs/digits-aux`; a config file's own name, or its folder's, is used in place of the preset's."""
    path = Path(preset)
    name = path.stem if path.stem != "config" else path.resolve().parent.name
    return Path("runs") / f"{name}-{command}"
