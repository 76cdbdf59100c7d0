"""`tleg prepare`: images into the files that FFCV reads fast."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tleg_cli.commands import _options as o


class WriteMode(str, Enum):
    """How pixels stand in the file."""

    auto = "auto"
    jpg = "jpg"
    raw = "raw"


def prepare(
    source: Annotated[str, typer.Argument(help="A folder with train/ and val/, or a source's name, as digits.")],
    out: Annotated[Path, typer.Argument(help="The folder for train.beton and val.beton.")],
    max_resolution: Annotated[
        int | None, typer.Option("--max-resolution", min=1, help="Shrink images whose longer side has more pixels.")
    ] = None,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of JPEG.")] = 90,
    write_mode: Annotated[
        WriteMode, typer.Option("--write-mode", help="auto: raw up to 64 pixels, else jpg.")
    ] = WriteMode.auto,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out images that can't be read; they are listed.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1)] = 2,
    force: Annotated[bool, typer.Option("--force", help="Write again what is there already.")] = False,
    json: o.Json = False,
) -> None:
    """Write a data set as train.beton and val.beton, checked by decoding them again.

    Example: tleg prepare /data/imagenet /fast/imagenet --max-resolution 500
    """
    from dataclasses import asdict

    from tleg_cli.data.ffcv.prepare import prepare_folder
    from tleg_cli.report.bar import work_bar
    from tleg_cli.report.summary import print_json, print_table

    with work_bar() as progress:
        written = prepare_folder(
            source,
            out,
            write_mode=write_mode.value,
            max_resolution=max_resolution,
            quality=quality,
            workers=workers,
            skip_bad=skip_bad,
            force=force,
            progress=progress,
        )
    if json:
        print_json({split: asdict(sidecar) for split, sidecar in written.items()})
        return
    rows = [
        [
            split,
            f"{one.samples:,}",
            str(len(one.classes)),
            one.write_mode,
            f"{one.bytes / 1e6:,.1f} MB",
            str(len(one.skipped)),
        ]
        for split, one in written.items()
    ]
    print_table(f"{source} -> {out}", ["split", "images", "classes", "mode", "size", "skipped"], rows)
    for one in written.values():
        for name in one.skipped:
            typer.echo(f"skipped {name}", err=True)
