"""The evaluation crop, the same for every loader: timm's own transform, without its normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def centre_crop(image_size: int, crop_pct: float, interpolation: str) -> Callable[[Image], Image]:
    """RGB image -> its middle, image_size pixels square: the shorter side becomes floor(image_size / crop_pct) before the cut.

    interpolation: bicubic or bilinear, with antialiasing, as PIL does it.
    """
    from timm.data import create_transform
    from torchvision.transforms import Compose

    whole = create_transform(image_size, crop_pct=crop_pct, interpolation=interpolation, normalize=False)
    return Compose(whole.transforms[:-1])  # the last one makes a tensor
