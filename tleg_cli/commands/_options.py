"""Options that several commands share, each said once."""

from pathlib import Path
from typing import Annotated

import typer

Preset = Annotated[str, typer.Option("--preset", help="A preset's name (see `tleg presets`) or a config file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the config, as in aux.epochs=5."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="What `tleg prepare` wrote, a folder with train/ and val/, or a source's name."),
]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder. Default: runs/PRESET-COMMAND.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Overrides the preset's seed.")]
CheckpointEvery = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-every", metavar="STEPS|MINUTESm", help="Beside each epoch: 500 (steps) or 30m (minutes)."
    ),
]
Gpus = Annotated[int, typer.Option("--gpus", min=1, help="Processes on this machine, one GPU each.")]
Device = Annotated[str, typer.Option("--device", help="cuda, cpu, or auto: cuda where there is one GPU at least.")]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Machines that train together.")]
NodeRank = Annotated[int | None, typer.Option("--node-rank", min=0, help="Which of them this one is, from 0.")]
Endpoint = Annotated[str | None, typer.Option("--rdzv-endpoint", metavar="HOST:PORT", help="Where the machines meet.")]
RdzvTimeout = Annotated[
    int, typer.Option("--rdzv-timeout", min=1, metavar="SECONDS", help="How long the machines wait for each other.")
]
MaxRestarts = Annotated[
    int, typer.Option("--max-restarts", min=0, help="How often torchrun restarts after a dead process.")
]
AllowChanged = Annotated[
    list[str] | None,
    typer.Option("--allow-changed", metavar="KEY", help="A setting that may differ from the run that is there."),
]
TorchrunOptions = Annotated[list[str] | None, typer.Argument(metavar="[-- TORCHRUN OPTIONS]", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")]
