"""`tleg train-aux`: stage 1."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import default_out, in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


def train_aux(
    preset: o.Preset,
    data: o.Data = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="A file of weights, or a timm model's name.")] = None,
    out: o.Out = None,
    gpus: o.Gpus = 1,
    device: o.Device = "auto",
    settings: o.Settings = None,
    seed: o.Seed = None,
    checkpoint_every: o.CheckpointEvery = None,
    nodes: o.Nodes = 1,
    node_rank: o.NodeRank = None,
    rdzv_endpoint: o.Endpoint = None,
    rdzv_timeout: o.RdzvTimeout = 600,
    max_restarts: o.MaxRestarts = 0,
    allow_changed: o.AllowChanged = None,
    torchrun_options: o.TorchrunOptions = None,
    json: o.Json = False,
) -> None:
    """Stage 1: train the learngene inside an aux net, distilling a teacher.

    Writes learngene.pt into the run folder. The same command again carries on where it was stopped.

    Example: tleg train-aux --preset small --data /fast/imagenet --gpus 4
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.summary import report_run

    weights, model = teacher_option(teacher)
    config = load_config(
        preset,
        settings or (),
        data__path=data,
        teacher__weights=weights,
        teacher__model=model,
        seed=seed,
        aux__checkpoint_every=checkpoint_every,
    )
    folder = out or default_out(preset, "aux")
    processes = Processes(gpus, pick_device(device, gpus), nodes, node_rank, rdzv_endpoint, max_restarts, rdzv_timeout)

    def train(world: "World", screen: "Screen") -> dict[str, Any]:
        from tleg_cli.training.stages import train_aux as run

        return run(config, folder, world, screen, allow_changed or ())

    in_processes(
        processes, folder, torchrun_options or (), train, lambda summary: report_run(summary, folder, as_json=json)
    )


def teacher_option(teacher: str | None) -> tuple[str | None, str | None]:
    """(file, None) for what looks like a file, (None, model name) else."""
    if teacher and teacher.endswith((".safetensors", ".pt", ".pth", ".bin", ".tar")):
        return teacher, None
    return None, teacher
