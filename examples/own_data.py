"""A data source of your own: upright and lying stripes, made by a function. Replace it by whatever reads your images.

    pip install -e ./examples
    tleg train-teacher --preset digits --data stripes/400 --out runs/stripes-teacher
    tleg evaluate runs/stripes-teacher/teacher.safetensors --data stripes/400

`--data stripes/400` calls stripes("400"). Class names are written into every network and compared when a network is scored.
Reading must be safe in several processes at once: open files in `__getitem__`, not in `__init__`.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tleg_cli.api import DataError, Source, hookimpl


@dataclass(frozen=True)
class Stripes:
    """A split: it has a length, and gives an RGB image and its label."""

    count: int
    seed: int

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        noise = np.random.default_rng((self.seed, index)).integers(0, 64, (32, 32, 3))
        wave = np.where(np.arange(32) // 4 % 2, 0, 160)
        stripes = wave[:, None, None] if index % 2 else wave[None, :, None]
        return Image.fromarray((noise + stripes).astype(np.uint8)), index % 2


def stripes(count):
    if not count.isdigit() or int(count) < 4:
        raise DataError(f"stripes/{count}: write the number of images, at least 4, as in stripes/400")
    train, val = Stripes(int(count), seed=0), Stripes(int(count) // 4, seed=1)
    return Source(f"stripes/{count}", ("upright", "lying"), train=lambda: train, val=lambda: val)


@hookimpl
def tleg_sources():
    return [("stripes", stripes)]
