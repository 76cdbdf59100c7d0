"""`tleg train-teacher`: an ancestor, where none can be downloaded."""

from typing import TYPE_CHECKING, Any

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import default_out, in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


def train_teacher(
    preset: o.Preset,
    data: o.Data = None,
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
    """Train an ancestor from scratch, where no pretrained one fits the data.

    Writes teacher.safetensors into the run folder, for `tleg train-aux --teacher`.

    Example: tleg train-teacher --preset digits --data digits --out runs/teacher
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.launch.processes import Processes
    from tleg_cli.report.summary import report_run

    config = load_config(
        preset, settings or (), data__path=data, seed=seed, teacher__recipe__checkpoint_every=checkpoint_every
    )
    folder = out or default_out(preset, "teacher")
    processes = Processes(gpus, pick_device(device, gpus), nodes, node_rank, rdzv_endpoint, max_restarts, rdzv_timeout)

    def train(world: "World", screen: "Screen") -> dict[str, Any]:
        from tleg_cli.training.stages import train_teacher as run

        return run(config, folder, world, screen, allow_changed or ())

    in_processes(
        processes, folder, torchrun_options or (), train, lambda summary: report_run(summary, folder, as_json=json)
    )
