"""How many images `--data` has, from listings only: no image is decoded and nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tleg_cli.data.ffcv.sidecar import read_pair
from tleg_cli.data.open import is_beton_folder
from tleg_cli.data.open_source import TIMM_SCHEMES, open_source
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Split


@dataclass(frozen=True)
class Counted:
    """kind: "ffcv", "images", or "assumed" if the data is not available."""

    kind: str
    classes: int
    train: int
    val: int
    class_names: tuple[str, ...] | None = None


IMAGENET = Counted("assumed", classes=1000, train=1_281_167, val=50_000)


def count_images(path: str) -> tuple[Counted, tuple[Split, Split] | None]:
    """The images of what `--data` names, and its two splits; None instead of these for .beton files.

    Raises DataError for data that is not available or would have to be downloaded.
    """
    if is_beton_folder(path):
        written, scored = read_pair(Path(path))
        return Counted("ffcv", len(written.classes), written.samples, scored.samples, tuple(written.classes)), None
    if path.partition("/")[0] in TIMM_SCHEMES and not Path(path).is_dir():
        raise DataError(
            f"{path} may have to be downloaded; write it with `tleg prepare` first, or give --images and --classes"
        )
    source = open_source(path)
    train, val = source.train(), source.val()
    return Counted("images", len(source.classes), len(train), len(val), tuple(source.classes)), (train, val)
