"""Geometric operations: each is one 2x3 matrix per sample, and one affine_grid + grid_sample applies them all.

Bicubic throughout: timm hands the training interpolation on to RandAugment, and the published recipe trains with bicubic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tleg_cli.augment.constants import per_channel
from tleg_cli.augment.drawn_operations import DrawnOperations

GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
_ROUNDING = 1e-3  # Pillow truncates; a value this little below an integer is that integer, computed in float32


def pixel_matrices(drawn: DrawnOperations, height: int, width: int) -> tuple[Tensor, ...]:
    """Pillow's (a, b, c, d, e, f), each (batch,): the output pixel (x, y) is read at (a x + b y + c, d x + e y + f).

    Rotation turns around the centre; shear and translation start at the top left corner. No drawn: the identity.
    """
    angle, shear_x, shear_y, right, down = (drawn.argument.where(drawn.of(name), 0.0) for name in GEOMETRIC)
    cos, sin = torch.cos(-torch.deg2rad(angle)), torch.sin(-torch.deg2rad(angle))
    c = (width - cos * width - sin * height) / 2 + right * width
    f = (height + sin * width - cos * height) / 2 + down * height
    return cos, sin + shear_x, c, shear_y - sin, cos, f


def to_theta(matrices: tuple[Tensor, ...], height: int, width: int) -> Tensor:
    """The same for affine_grid, (batch, 2, 3): it counts -1..1 from edge to edge, Pillow 0..width."""
    a, b, c, d, e, f = matrices
    b, d = b * height / width, d * width / height
    rows = torch.stack([a, b, a + b + 2 * c / width - 1]), torch.stack([d, e, d + e + 2 * f / height - 1])
    return torch.stack(rows).permute(2, 0, 1).float()


def resample(images: Tensor, theta: Tensor, fill: Tensor, mode: str = "bicubic") -> Tensor:
    """Reads every image through its matrix; outside the image is `fill`.

    images: (batch, 3, height, width) uint8; theta: (batch, 2, 3); fill: (1, 3, 1, 1), levels. Returns uint8.
    """
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    inside = (grid.abs() <= 1).all(-1).unsqueeze(1)
    values = F.grid_sample(images.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return torch.where(inside, (values + _ROUNDING).clamp_(0, 255), fill).to(torch.uint8)


def warp(images: Tensor, drawn: DrawnOperations, fill: tuple[float, ...]) -> Tensor:
    """Applies the geometric operations. Only the samples with one of GEOMETRIC mean anything in the result.

    images: (batch, 3, height, width) uint8; so is the result. fill: three levels.
    """
    height, width = images.shape[2:]
    theta = to_theta(pixel_matrices(drawn, height, width), height, width)
    return resample(images, theta, per_channel(fill, images.device))
