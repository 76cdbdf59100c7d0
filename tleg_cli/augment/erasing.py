"""Random erasing (Zhong et al. 2020, arXiv 1708.04896) on a normalised batch, as timm's RandomErasing draws it per image.

All tries of all boxes are drawn at once and the first that fits is taken: to draw until one fits would wait for the GPU.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

Mode = Literal["pixel", "rand", "const"]

AREA = (0.02, 1 / 3)  # of the image, shared by all its boxes
ASPECT = (0.3, 1 / 0.3)  # height / width, log-uniform
_TRIES = 10


def erase(images: Tensor, *, probability: float, mode: Mode, count: int, generator: Generator) -> Tensor:
    """Fills 1..count boxes of an image, with `probability`.

    images: (batch, channels, height, width) float; a new tensor is returned. mode: `pixel` normal noise, `rand` one
    normal colour per box, `const` zero, which is the mean.
    """
    if probability == 0:
        return images
    boxes = draw_boxes(images.shape, probability, count, images.device, generator)
    if mode == "pixel":  # one field of noise serves all boxes: any part of it is noise
        noise = torch.randn(images.shape, device=images.device, dtype=images.dtype, generator=generator)
        return torch.where(boxes.any(0).unsqueeze(1), noise, images)
    for box in boxes:
        colour = images.new_zeros(*images.shape[:2], 1, 1)
        if mode == "rand":
            colour = colour.normal_(generator=generator)
        images = torch.where(box.unsqueeze(1), colour, images)
    return images


def erase_in_place(images: Tensor, *, probability: float, mode: Mode, count: int, generator: Generator) -> None:
    """The same, written into the batch on a CPU, box by box: noise is drawn for the boxes only, not for all images."""
    if probability == 0:
        return
    boxes = _draw(images.shape, probability, count, images.device, generator)
    channels_last = images.permute(0, 2, 3, 1).numpy()
    chosen = zip(*(side.tolist() for side in boxes), strict=True)
    for tops, heights, lefts, widths, wanted in chosen:
        colours = np.zeros((len(images), images.shape[1]), np.float32)
        if mode == "rand":
            colours = torch.randn(*images.shape[:2], 1, 1, generator=generator)[..., 0, 0].numpy()
        for sample, (top, h, left, w) in enumerate(zip(tops, heights, lefts, widths, strict=True)):
            if wanted[sample]:
                shape = int(h), int(w), images.shape[1]
                noise = torch.randn(shape, generator=generator).numpy() if mode == "pixel" else colours[sample]
                channels_last[sample, int(top) : int(top + h), int(left) : int(left + w)] = noise


def draw_boxes(shape: torch.Size, probability: float, count: int, device: torch.device, generator: Generator) -> Tensor:
    """Where to erase: (count, batch, height, width) bool."""
    top, h, left, w, wanted = _draw(shape, probability, count, device, generator)
    rows, columns = _between(top, h, shape[2], device), _between(left, w, shape[3], device)
    return rows.unsqueeze(-1) & columns.unsqueeze(-2) & wanted.view(*wanted.shape, 1, 1)


def _draw(
    shape: torch.Size, probability: float, count: int, device: torch.device, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """top, height, left and width in pixels, and whether there is a box; each (count, batch)."""
    batch, _, height, width = shape
    drawn = 1 + torch.floor(_uniform((batch,), device, generator) * count)  # boxes of this image
    h, w, fits = _sizes((count, batch), drawn, height, width, device, generator)
    top = torch.floor(_uniform((count, batch), device, generator) * (height - h + 1))
    left = torch.floor(_uniform((count, batch), device, generator) * (width - w + 1))
    numbers = torch.arange(count, device=device).view(-1, 1)
    wanted = fits & (numbers < drawn) & (_uniform((batch,), device, generator) <= probability)
    return top, h, left, w, wanted


def _sizes(
    shape: tuple[int, int], drawn: Tensor, height: int, width: int, device: torch.device, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """height and width of the first of ten boxes that fits, and whether one does; each (count, batch)."""
    area = AREA[0] + (AREA[1] - AREA[0]) * _uniform((*shape, _TRIES), device, generator)
    area = area * (height * width) / drawn.view(1, -1, 1)
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    aspect = torch.exp(low + (high - low) * _uniform((*shape, _TRIES), device, generator))
    h, w = torch.round(torch.sqrt(area * aspect)), torch.round(torch.sqrt(area / aspect))
    fits = (h < height) & (w < width)
    first = fits.int().argmax(-1, keepdim=True)
    return h.gather(-1, first)[..., 0], w.gather(-1, first)[..., 0], fits.any(-1)


def _between(start: Tensor, length: Tensor, side: int, device: torch.device) -> Tensor:
    """(count, batch) -> (count, batch, side) bool: start <= position < start + length."""
    positions = torch.arange(side, device=device)
    return (positions >= start.unsqueeze(-1)) & (positions < (start + length).unsqueeze(-1))


def _uniform(shape: tuple[int, ...], device: torch.device, generator: Generator) -> Tensor:
    return torch.rand(shape, device=device, generator=generator)
