"""Operations on colour: pointwise ones are tables of 256 new values, applied by one gather; Color and Sharpness are blends.

Written after Pillow's ImageOps, ImageEnhance and ImageFilter, to the last rounding, since that is what timm's operations call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tleg_cli.augment.drawn_operations import DrawnOperations, as_mask

Table = Callable[[Tensor, Tensor], Tensor]  # images, argument (batch, 1, 1) -> (batch, 1 or 3, 256) in 0..255


def grey(images: Tensor) -> Tensor:
    """Pillow's luma (ITU-R 601-2) in its fixed-point arithmetic: (batch, 3, h, w) uint8 -> (batch, 1, h, w) int32."""
    red, green, blue = images.int().split(1, dim=1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Pillow's Image.blend: factor 0 gives degenerate, 1 the image, more exaggerates. float32 in 0..255, to be truncated."""
    degenerate, images = degenerate.float(), images.float()
    return (degenerate + factor.float() * (images - degenerate)).clamp_(0, 255)


def _levels(images: Tensor) -> Tensor:
    return torch.arange(256, device=images.device).view(1, 1, 256)


def _auto_contrast(images: Tensor, _argument: Tensor) -> Tensor:
    levels = _levels(images).double()
    low, high = (bound.double().unsqueeze(-1) for bound in (images.amin((2, 3)), images.amax((2, 3))))
    scale = torch.full_like(high, 255) / (high - low)  # a plain 255 times the reciprocal would be rounded twice
    return torch.where(high > low, (levels * scale - low * scale).clamp(0, 255), levels)


def histogram(images: Tensor) -> Tensor:
    """How often each level occurs: (batch, channels, h, w) uint8 -> (batch, channels, 256) int64."""
    index = images.flatten(2).long()
    counts = torch.zeros(*index.shape[:2], 256, dtype=torch.int64, device=images.device)
    return counts.scatter_add_(2, index, counts.new_ones(()).expand_as(index))  # bincount would wait for the GPU


def _equalize(images: Tensor, _argument: Tensor) -> Tensor:
    counts = histogram(images)
    brightest = images.amax((2, 3)).long().unsqueeze(-1)
    step = (counts.sum(-1, keepdim=True) - counts.gather(2, brightest)) // 255  # Pillow leaves the brightest level out
    table = (step // 2 + counts.cumsum(-1) - counts) // step.clamp(min=1)
    return torch.where(step > 0, table.clamp(max=255), _levels(images))


def _invert(images: Tensor, _argument: Tensor) -> Tensor:
    return 255 - _levels(images)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    return _levels(images) & (-1 << (8 - bits.long().clamp(0, 8)))


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    levels = _levels(images)
    return torch.where(levels < threshold, levels, 255 - levels)


def _solarize_add(images: Tensor, added: Tensor) -> Tensor:
    levels = _levels(images)
    return torch.where(levels < 128, (levels + added.long()).clamp(max=255), levels)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return blend(torch.zeros_like(factor), _levels(images), factor)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    pixels = images.shape[2] * images.shape[3]
    total = grey(images).sum((1, 2, 3)).view(-1, 1, 1)
    return blend((2 * total + pixels) // (2 * pixels), _levels(images), factor)  # the mean, rounded half up


TABLES: dict[str, Table] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Brightness": _brightness,
    "Contrast": _contrast,
}
BLENDS = ("Color", "Sharpness")  # channels or neighbours mix: no table can do that


def look_up(images: Tensor, drawn: DrawnOperations) -> Tensor:
    """Applies the pointwise operations. Samples with another drawn stay as they are.

    images: (batch, 3, height, width) uint8; so is the result.
    """
    table = _levels(images).to(torch.uint8).expand(len(images), images.shape[1], 256)
    argument = as_mask(drawn.argument, 3)
    for name, make in TABLES.items():
        if drawn.can_be((name,)):
            table = torch.where(as_mask(drawn.of(name), 3), make(images, argument).to(torch.uint8), table)
    return table.gather(2, images.flatten(2).long()).view(images.shape)


def smooth(images: Tensor) -> Tensor:
    """Pillow's SMOOTH: weights 1, with 5 in the middle, over 13, rounded half up; the outermost pixels are copied.

    images: (batch, channels, height, width) uint8. Returns float32 of whole numbers.
    """
    values = images.float()
    result = values.clone()
    if min(images.shape[2:]) < 3:
        return result
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    boxes = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    result[:, :, 1:-1, 1:-1] = ((boxes + 4 * values[:, :, 1:-1, 1:-1]) / 13 + 0.5).floor_()
    return result


def mix_in(images: Tensor, drawn: DrawnOperations) -> Tensor:
    """Applies Color and Sharpness. Only the samples with one of BLENDS mean anything in the result.

    images: (batch, 3, height, width) uint8; so is the result.
    """
    degenerate = grey(images).float() if drawn.can_be(("Color",)) else images
    if drawn.can_be(("Sharpness",)):
        degenerate = torch.where(as_mask(drawn.of("Sharpness"), 4), smooth(images), degenerate)
    return blend(degenerate, images, as_mask(drawn.argument, 4)).to(torch.uint8)
