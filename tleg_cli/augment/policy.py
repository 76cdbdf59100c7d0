"""timm's policy strings, such as rand-m9-mstd0.5-inc1, parsed and checked before anything else happens.

Stricter than timm, which skips what it doesn't understand: a section without a number, given twice or out of range is an error here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tleg_cli.errors import ConfigError, did_you_mean

_PLAIN = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
_GROWS = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
_INCREASING = tuple(name + "Increasing" * (name in _GROWS) for name in _PLAIN)
_WEIGHTED = {
    **{"Rotate": 3.0, "ShearX": 2.0, "ShearY": 2.0, "TranslateXRel": 1.0, "TranslateYRel": 1.0},
    **{"ColorIncreasing": 0.25, "SharpnessIncreasing": 0.25, "AutoContrast": 0.25, "SolarizeIncreasing": 0.05},
    **{"SolarizeAdd": 0.05, "ContrastIncreasing": 0.05, "BrightnessIncreasing": 0.05, "Equalize": 0.05},
    **{"PosterizeIncreasing": 0.05, "Invert": 0.05},
}
_KEYS = {"m": int, "n": int, "p": float, "mstd": float, "mmax": int, "inc": int}
_UNIFORM_ABOVE = 100  # mstd


@dataclass(frozen=True)
class Policy:
    """A parsed string. weights: None for an even draw with replacement; else a draw without, as in timm.

    spread: standard deviation of the magnitude; inf: uniform in 0..magnitude. limit: the largest magnitude.
    """

    names: tuple[str, ...] = _PLAIN
    weights: tuple[float, ...] | None = None
    layers: int = 2
    probability: float = 0.5  # of each layer
    magnitude: int = 10
    spread: float = 0.0
    limit: int = 10


def parse_policy(text: str) -> Policy:
    """The policy that a string of timm names.

    Raises ConfigError for what timm refuses or skips, and for its other policies (AutoAugment, AugMix, 3-Augment).
    """
    start, *sections = text.split("-")
    if start != "rand":
        raise _refused(text, f"{start!r} is not supported, only timm's RandAugment, as in rand-m9-mstd0.5-inc1")
    numbers: dict[str, float] = {}
    transforms: list[str] = []
    for section in sections:
        if section.startswith("t"):
            transforms.append(_known_transforms(text, section))
        else:
            key, value = _number(text, section)
            if key in numbers:
                raise _refused(text, f"{key!r} is given twice")
            numbers[key] = value
    return _checked(text, numbers, weighted=bool(transforms))


def _refused(text: str, why: str, way_out: str = "") -> ConfigError:
    return ConfigError(f"augmentation.auto_augment {text!r}: {why}.{way_out}")


def _known_transforms(text: str, section: str) -> str:
    if section != "tweights":
        raise _refused(text, f"the set of operations {section!r} is not supported; leave it out or use 'tweights'")
    return section


def _number(text: str, section: str) -> tuple[str, float]:
    key, value, *_ = [*re.split(r"(\d.*)", section, maxsplit=1), ""]
    if key not in _KEYS:
        raise _refused(text, f"{section!r} is not a setting", did_you_mean(key, [*_KEYS, "tweights"]))
    try:
        return key, _KEYS[key](value)
    except ValueError:
        kind = "an integer" if _KEYS[key] is int else "a number"
        raise _refused(text, f"{key!r} needs {kind}, not {value!r}") from None


def _checked(text: str, numbers: dict[str, float], *, weighted: bool) -> Policy:
    spread = numbers.get("mstd", 0.0)
    names = tuple(_WEIGHTED) if weighted else _INCREASING if numbers.get("inc", 0) else _PLAIN
    policy = Policy(
        names=names,
        weights=tuple(_WEIGHTED.values()) if weighted else None,
        layers=int(numbers.get("n", 2)),
        probability=numbers.get("p", 0.5),
        magnitude=int(numbers.get("m", 10)),
        spread=math.inf if spread > _UNIFORM_ABOVE else spread,
        limit=int(numbers.get("mmax", 10)) or 10,  # timm reads 0 as "not given"
    )
    if policy.probability > 1:
        raise _refused(text, f"p is a probability, 0..1, not {policy.probability:g}")
    if weighted and policy.layers > len(names):
        raise _refused(text, f"{policy.layers} layers can't be drawn without replacement from {len(names)} operations")
    return policy
