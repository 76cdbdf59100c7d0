"""Real photographs as an image folder: pieces of china.jpg and flower.jpg, which come with scikit-learn. No download.

A class is a place in a picture: 4 x 4 places in each of the two, 32 classes. Pieces are cut at random around it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

PLACES = 4  # in each direction


def pictures() -> list[Image.Image]:
    """The two photographs, 640 x 427 pixels."""
    from sklearn.datasets import load_sample_image

    return [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


def write_pieces(
    root: Path, *, train: int, val: int, size: tuple[int, int], share: float = 0.4, quality: int = 95
) -> Path:
    """`root`/{train,val}/CLASS/*.jpg, all of `size` (width, height). share: of the picture's width that a piece shows."""
    random = np.random.default_rng(0)
    whole = pictures()
    for split, count in (("train", train), ("val", val)):
        for label in range(len(whole) * PLACES**2):
            folder = root / split / f"{label:02d}"
            folder.mkdir(parents=True)
            for number in range(count):
                piece = _piece(whole[label // PLACES**2], label % PLACES**2, size, share, random)
                piece.save(folder / f"{number:03d}.jpg", quality=quality)
    return root


def _piece(
    picture: Image.Image, place: int, size: tuple[int, int], share: float, random: np.random.Generator
) -> Image.Image:
    """Around the middle of a place, off by up to a third of one, and up to a fifth larger or smaller."""
    width = picture.width * share * random.uniform(0.8, 1.2)
    height = min(width * size[1] / size[0], picture.height)
    row, column = divmod(place, PLACES)
    x = picture.width * (column + 0.5 + random.uniform(-1 / 3, 1 / 3)) / PLACES - width / 2
    y = picture.height * (row + 0.5 + random.uniform(-1 / 3, 1 / 3)) / PLACES - height / 2
    left, top = np.clip(x, 0, picture.width - width), np.clip(y, 0, picture.height - height)
    return picture.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
