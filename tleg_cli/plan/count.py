"""How many images `--data` has, from listings only: no image is decoded and nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tleg_cli.data.ffcv.sidecar import read_pair
from tleg_cli.data.open import is_beton_folder
from tleg_cli.data.open_source import TIMM_SCHEMES, open_source
from tleg_cli.data.timm_sources import known_size
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Split


@dataclass(frozen=True)
class Counted:
    """kind: "ffcv", "images", "named" for a published data set that may not be fetched yet, or "assumed" for no data."""

    kind: str
    classes: int
    train: int
    val: int
    class_names: tuple[str, ...] | None = None


IMAGENET = Counted("assumed", classes=1000, train=1_281_167, val=50_000)


def count_images(path: str) -> tuple[Counted, tuple[Split, Split] | None]:
    """The images of what `--data` names, and its two splits: None for .beton files and for a named data set of known size.

    Raises DataError for data that don't exist, or would have to be downloaded to be counted.
    """
    if is_beton_folder(path):
        written, scored = read_pair(Path(path))
        return Counted("ffcv", len(written.classes), written.samples, scored.samples, tuple(written.classes)), None
    if path.partition("/")[0] in TIMM_SCHEMES and not Path(path).is_dir():
        size = known_size(path)
        if size is not None:
            return Counted("named", size.classes, size.train, size.val), None
        raise DataError(
            f"{path} may have to be downloaded; write it with `tleg prepare` first, or give --images and --classes"
        )
    source = open_source(path)
    train, val = source.train(), source.val()
    return Counted("images", len(source.classes), len(train), len(val), tuple(source.classes)), (train, val)
