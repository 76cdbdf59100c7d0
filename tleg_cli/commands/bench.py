"""`tleg bench`: how fast stage 1 is on this machine, and what limits it."""

from typing import Annotated

import typer

from tleg_cli.commands import _options as o
from tleg_cli.commands._training import pick_device


def bench(
    preset: o.Preset,
    data: o.Data = None,
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="plain-timm", help="Also time a plain timm network, in turn.")
    ] = None,
    find_batch: Annotated[
        bool, typer.Option("--find-batch", help="First find the largest batch that the GPU's memory holds.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.01, help="For each part.")] = 5.0,
    device: o.Device = "auto",
    settings: o.Settings = None,
    json: o.Json = False,
) -> None:
    """Time the parts of stage 1: data, augmentation, teacher, student, the complete step; say what limits and what to change.

    All networks have random weights, so nothing is downloaded, and nothing is written. Without --data the images are random ones in
    memory, and the data is not timed.

    Example: tleg bench --preset small --data /fast/imagenet --set aux.batch_size=256
    """
    from tleg_cli.config_file import load_config
    from tleg_cli.errors import ConfigError
    from tleg_cli.report.bench_table import judged, print_bench

    if compare not in (None, "plain-timm"):
        raise ConfigError(f"--compare {compare!r} is unknown; write plain-timm")
    config = load_config(preset, settings or (), data__path=data)
    if data is None:  # a preset's own path too is left out: random images say what the device can do
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": None})})
    from tleg_cli.plan.bench_document import bench_document
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import join_world

    with join_world(pick_device(device, 1)) as world:
        made = bench_document(
            config,
            world,
            Screen(quiet=False),
            seconds=seconds,
            against_plain=compare is not None,
            find_batch=find_batch,
        )
    print_bench(judged(made), as_json=json)
