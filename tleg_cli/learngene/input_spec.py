"""What a network expects of its images: size, normalisation and evaluation crop, as one validated value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tleg_cli.errors import FileFormatError

MAX_IMAGE_SIZE = 4096  # pixels; a larger number in a file would only exhaust the memory
_MAX_RESIZED = 32_768  # pixels of the shorter side before the crop


@dataclass(frozen=True)
class InputSpec:
    """The images that a network was trained on. Raises FileFormatError for values that can't be.

    image_size: pixels, square. mean, std: of the normalisation, for pixels in 0..1, one per channel (RGB).
    crop_pct: of evaluation, image_size / (the shorter side after resizing).
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 0.875

    def __post_init__(self) -> None:
        for name, (rule, holds) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise FileFormatError(f"{name} = {repr(value)[:80]} should be {rule}")
        if self.image_size / self.crop_pct > _MAX_RESIZED:
            raise FileFormatError(
                f"crop_pct = {self.crop_pct} is too small: images would be resized to billions of pixels"
            )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> InputSpec:
        """Of the plain values that a file holds, as `values()` writes them. Raises FileFormatError that names the value."""
        for key in ("image_size", "mean", "std"):
            if key not in values:
                raise FileFormatError(f"{key} is missing")
        found = {key: values[key] for key in _RULES if key in values}
        for key in ("mean", "std"):
            if isinstance(found[key], list | tuple):
                found[key] = tuple(found[key])
        return cls(**found)

    def values(self) -> dict[str, Any]:
        """Plain values, each under its own key among a file's other facts."""
        return {name: getattr(self, name) for name in _RULES}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(value: Any, *, above: float) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_number(one) and above < one < 1e6 for one in value)


# what each value must be, in words, and whether it is
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "image_size": (
        f"a whole number from 1 to {MAX_IMAGE_SIZE}",
        lambda value: _is_whole(value) and 0 < value <= MAX_IMAGE_SIZE,
    ),
    "mean": ("three numbers", lambda value: _are_numbers(value, above=-1e6)),
    "std": ("three numbers above 0", lambda value: _are_numbers(value, above=0)),
    "crop_pct": ("a number above 0 and up to 1", lambda value: _is_number(value) and 0 < value <= 1),
}
