"""`tleg prepare`: images into the files that FFCV reads fast."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tleg_cli.commands import _options as o
from tleg_cli.errors import printable

if TYPE_CHECKING:
    from tleg_cli.data.ffcv.prepare import Prepared


class WriteMode(str, Enum):
    """How pixels are stored."""

    auto = "auto"
    jpg = "jpg"
    raw = "raw"


Source = Annotated[str, typer.Argument(help="A folder with train/ and val/, or the name of a source, such as digits.")]
Out = Annotated[Path, typer.Argument(help="The folder for train.beton and val.beton.")]
MaxResolution = Annotated[
    int | None, typer.Option("--max-resolution", min=1, help="Shrink images whose longer side has more pixels.")
]
Quality = Annotated[int, typer.Option("--quality", min=1, max=100, help="JPEG quality.")]
WriteModeOption = Annotated[
    WriteMode, typer.Option("--write-mode", help="auto: raw if images have at most 64 x 64 pixels on average.")
]
ExifOrientation = Annotated[bool, typer.Option(help="Turn photographs upright as their EXIF data say.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that can't be read, and list them.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=1024, help="Processes that read images.")]
Force = Annotated[bool, typer.Option("--force", help="Write both files again, even if they exist.")]


def prepare(
    source: Source,
    out: Out,
    max_resolution: MaxResolution = None,
    quality: Quality = 90,
    write_mode: WriteModeOption = WriteMode.auto,
    exif_orientation: ExifOrientation = True,
    skip_bad: SkipBad = False,
    workers: Workers = 2,
    force: Force = False,
    json: o.Json = False,
) -> None:
    """Write a data set as train.beton and val.beton, and compare both with the source.

    An interrupted call continues when the same command is run again.

    Example: tleg prepare /data/imagenet /fast/imagenet --max-resolution 500
    """
    from dataclasses import asdict

    from tleg_cli.data.ffcv.prepare import prepare_folder
    from tleg_cli.data.read_image import WAY_OUT
    from tleg_cli.errors import Preempted
    from tleg_cli.launch.stop_signals import StopRequested
    from tleg_cli.report.bar import work_bar
    from tleg_cli.report.output import print_json

    try:
        with work_bar() as progress:
            prepared = prepare_folder(
                source,
                out,
                write_mode=write_mode.value,
                max_resolution=max_resolution,
                quality=quality,
                workers=workers,
                skip_bad=skip_bad,
                force=force,
                progress=progress,
                exif_orientation=exif_orientation,
            )
    except StopRequested as stopped:
        raise Preempted(f"{stopped}: nothing incomplete was kept; run the same command again to continue") from None
    if json:
        print_json({split: {**asdict(one.sidecar), "kept": one.kept} for split, one in prepared.items()})
    else:
        _show(source, out, prepared)
    for one in prepared.values():
        for name in one.sidecar.skipped:
            typer.echo(f"skipped {printable(name.removesuffix(WAY_OUT))}", err=True)


def _show(source: str, out: Path, prepared: "Mapping[str, Prepared]") -> None:
    from tleg_cli.report.output import print_table

    rows = [
        [
            split,
            f"{one.sidecar.samples:,}",
            str(len(one.sidecar.classes)),
            one.sidecar.write_mode,
            f"{one.sidecar.bytes / 1e6:,.1f} MB",
            "all" if one.sidecar.compared == one.sidecar.samples else f"{one.sidecar.compared:,}",
            str(len(one.sidecar.skipped)),
            "kept" if one.kept else "new",
        ]
        for split, one in prepared.items()
    ]
    columns = ["split", "images", "classes", "mode", "size", "compared", "skipped", "file"]
    print_table(f"{source} -> {out}", columns, rows)
    train = prepared["train"].sidecar
    if train.mode_reason:
        typer.echo(printable(f"mode {train.write_mode}: {train.mode_reason}"), err=True)
