"""`tleg train-des`: stage 2, one depth or a whole family."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import default_out, in_processes, pick_device

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


class Init(str, Enum):
    """What a descendant starts from."""

    learngene = "learngene"
    scratch = "scratch"


def train_des(
    preset: o.Preset,
    learngene: Annotated[Path, typer.Option("--learngene", help="The learngene.pt of `tleg train-aux`.")],
    depth: Annotated[
        str | None, typer.Option("--depth", help="6, 3,6,9, 3-12 or 2:2:18:2. Default: the preset's.")
    ] = None,
    init: Annotated[
        Init, typer.Option("--init", help="scratch: the same network without the learngene.")
    ] = Init.learngene,
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
    """Stage 2: train descendants of any depth, each from the expanded learngene.

    Writes depth-NN/model.safetensors for each depth into the run folder, in timm's own layout.

    Example: tleg train-des --preset small --learngene learngene.pt --depth 3-12 --gpus 4
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.launch.processes import Processes
    from tleg_cli.learngene.depths import parse_depths
    from tleg_cli.report.summary import report_family

    config = load_config(
        preset, settings or (), data__path=data, seed=seed, descendant__checkpoint_every=checkpoint_every
    )
    depths = parse_depths(depth or config.descendant.depths)
    folder = out or default_out(preset, "des" if init is Init.learngene else "des-scratch")
    processes = Processes(gpus, pick_device(device, gpus), nodes, node_rank, rdzv_endpoint, max_restarts, rdzv_timeout)

    def train(world: "World", screen: "Screen") -> dict[str, Any]:
        from tleg_cli.training.stages import train_descendants as run

        scratch = init is Init.scratch
        return run(config, learngene, depths, folder, world, screen, allow_changed or (), scratch=scratch)

    in_processes(
        processes, folder, torchrun_options or (), train, lambda summary: report_family(summary, folder, as_json=json)
    )
