"""Options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _complete as complete

Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        metavar="NAME",
        autocompletion=complete.presets,
        help="A preset (`tleg presets` lists them) or a config file.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=complete.settings,
        help="Override one value of the config, such as aux.epochs=5.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A folder that `tleg prepare` wrote, one with train/ and val/, or a source's name.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder. Default: runs/PRESET-COMMAND.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Override the preset's seed.")]
CheckpointEvery = Annotated[
    str | None,
    typer.Option(
        "--checkpoint-every",
        metavar="INTERVAL",
        help="Also write a checkpoint every 500 (steps) or 30m (minutes), not only after each epoch.",
    ),
]
LogEvery = Annotated[
    int | None,
    typer.Option(
        "--log-every", min=1, metavar="STEPS", help="Also record loss and rate every so many steps in metrics.jsonl."
    ),
]
Gpus = Annotated[int, typer.Option("--gpus", min=1, metavar="N", help="Processes on this machine, one GPU each.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        autocompletion=complete.devices,
        help="cuda, cpu, or auto: cuda if there is at least one GPU.",
    ),
]
Nodes = Annotated[int, typer.Option("--nodes", min=1, metavar="N", help="Number of machines that train together.")]
NodeRank = Annotated[
    int | None, typer.Option("--node-rank", min=0, metavar="N", help="This machine's number, from 0 to nodes - 1.")
]
Endpoint = Annotated[
    str | None,
    typer.Option("--rdzv-endpoint", metavar="HOST:PORT", help="Address of machine 0, where all machines connect."),
]
RdzvTimeout = Annotated[
    int,
    typer.Option("--rdzv-timeout", min=1, metavar="SECONDS", help="How long machines wait for each other to start."),
]
MaxRestarts = Annotated[
    int, typer.Option("--max-restarts", min=0, metavar="N", help="How often all processes restart after one has died.")
]
AllowChanged = Annotated[
    list[str] | None,
    typer.Option("--allow-changed", metavar="KEY", help="A setting that may differ from the run in the folder."),
]
TorchrunOptions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- TORCHRUN OPTIONS]", show_default=False, help="Passed on to torchrun."),
]
WeightSet = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="SET",
        autocompletion=complete.weight_sets,
        help="auto, raw or ema, for a checkpoint with several sets. auto: the moving average (EMA) if there is one.",
    ),
]
ClassMap = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        metavar="FILE",
        help="How the classes of the weights are called in the data: a name a line, or JSON.",
    ),
]
Step = Annotated[
    str | None,
    typer.Option(
        "--step",
        metavar="STEP",
        help="Residual step of the learngene's networks: none (TLEG as published), scaled, deeper, repeats, or a power such as 1. "
        "Changes nothing at the trained depth.",
    ),
]
Positions = Annotated[
    str | None,
    typer.Option(
        "--positions", metavar="RULE", help="Where blocks are on the learngene's curve: tleg (l / L), ends or unit."
    ),
]
BackboneName = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        autocompletion=complete.backbones,
        help="Default: the one that the file names, or whose shapes it has.",
    ),
]
BackboneOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="What shapes don't say of a backbone, as in num_heads=4."),
]
Align = Annotated[
    bool,
    typer.Option(
        "--align",
        help="First permute hidden units and heads, rotate inside heads and fold norms, so that blocks match; same logits.",
    ),
]
TimmModel = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="timm's name, for weights of others that shapes don't identify."),
]
TimmOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="What shapes don't say of such weights, as in num_heads=4."),
]
NetworkDepth = Annotated[
    str | None,
    typer.Option(
        "--depth",
        autocompletion=complete.depths,
        help="Of a learngene: the network of this depth. Default: the aux net's.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
