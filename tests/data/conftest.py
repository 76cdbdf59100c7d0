"""A small image folder of real JPEG files, and what `tleg prepare` makes of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tleg_cli.data.ffcv.prepare import prepare_folder


def picture(number: int, width: int, height: int) -> Image.Image:
    """Smooth colours with a few edges, different for each number: JPEG keeps it well."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_folder(root: Path, *, classes: int = 3, train: int = 8, val: int = 5) -> Path:
    number = 0
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"class-{label}"
            folder.mkdir(parents=True)
            for image in range(count):
                number += 1
                size = 160 + 28 * (number % 5), 144 + 20 * (number % 7)
                picture(number, *size).save(folder / f"{image:03d}.jpg", quality=95)
    return root


def prepare(source: object, out: Path, **options: object) -> Path:
    settings = {
        "write_mode": "auto",
        "max_resolution": None,
        "quality": 95,
        "workers": 1,
        "skip_bad": False,
        "force": False,
    }
    prepare_folder(str(source), out, progress=lambda what, done, of: None, **{**settings, **options})  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def betons(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(photos, tmp_path_factory.mktemp("betons"), write_mode="jpg")
