"""`tleg predict` as a library call: what a network says about image files, with the names of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import NotRequired

from tleg_cli.augment.pipeline import normalise
from tleg_cli.data.crops import centre_crop
from tleg_cli.data.folders import is_image
from tleg_cli.data.read_image import WAY_OUT, read_rgb
from tleg_cli.errors import ConfigError, DataError
from tleg_cli.models.model_file import ModelCard


class Guess(TypedDict):
    """index: of the network's output. name: of its class, None if the file doesn't know it. probability: 0..1."""

    index: int
    name: str | None
    probability: float


class Prediction(TypedDict):
    """One image: the likeliest classes first, or why it couldn't be read."""

    image: str
    guesses: NotRequired[list[Guess]]
    error: NotRequired[str]


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and every image below the folders, sorted. Raises ConfigError for what isn't there and for empty folders."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"no image at {path}")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.is_file() and is_image(file.name))
        if not inside:
            raise ConfigError(f"{path} holds no images")
        found += inside
    return found


@torch.inference_mode()
def predict(
    network: nn.Module,
    card: ModelCard,
    files: Iterable[Path],
    device: torch.device,
    *,
    top: int = 5,
    batch_size: int = 32,
) -> Iterator[Prediction]:
    """One prediction for each file, in order. The images get timm's evaluation crop and the network's own normalisation.

    An image that can't be read has an `error` in place of guesses; the others are predicted.
    """
    network = network.eval().to(device)
    crop = centre_crop(card.input.image_size, card.input.crop_pct, "bicubic")
    remaining = iter(files)
    while batch := list(islice(remaining, batch_size)):
        read: dict[Path, Tensor] = {}
        errors: dict[Path, str] = {}
        for file in batch:
            try:
                pixels = np.array(crop(read_rgb(str(file), str(file))))
                read[file] = torch.from_numpy(pixels).permute(2, 0, 1)
            except DataError as error:
                errors[file] = str(error).removesuffix(WAY_OUT)
        shares: dict[Path, Tensor] = {}
        if read:
            images = normalise(torch.stack(list(read.values())).to(device), card.input.mean, card.input.std)
            shares = dict(zip(read, network(images).float().softmax(1).cpu(), strict=True))
        for file in batch:
            if file in errors:
                yield {"image": str(file), "error": errors[file]}
            else:
                yield {"image": str(file), "guesses": _guesses(shares[file], card, top)}


def _guesses(shares: Tensor, card: ModelCard, top: int) -> list[Guess]:
    best = shares.topk(min(top, len(shares)))
    return [
        {"index": index, "name": card.class_names[index] if card.class_names else None, "probability": share}
        for share, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
