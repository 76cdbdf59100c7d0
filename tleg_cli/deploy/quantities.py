"""Limits as people write them: `8ms`, `20MB`, `1G`, `95`, read into seconds, bytes, multiply-adds and percent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from tleg_cli.errors import ConfigError

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_COUNTS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_PERCENT = {"": 1.0, "%": 1.0}


def parse_seconds(text: str, option: str) -> float:
    """`8ms`, `0.5s`, `300us`. Raises ConfigError that names the option and the units."""
    return _parse(text, option, _SECONDS, "8ms or 0.5s")


def parse_bytes(text: str, option: str) -> float:
    """`20MB` (millions of bytes), `3.5MiB` (1,048,576 bytes each). Raises ConfigError."""
    return _parse(text, option, _BYTES, "20MB or 3.5MiB")


def parse_macs(text: str, option: str) -> float:
    """`1G`, `300M` multiply-adds. Raises ConfigError."""
    return _parse(text, option, _COUNTS, "1G or 300M")


def parse_percent(text: str, option: str) -> float:
    """`95` or `95%`, at most 100. Raises ConfigError."""
    value = _parse(text, option, _PERCENT, "95")
    if value > 100:
        raise ConfigError(f"{option} {text!r} is more than 100 percent; write a top-1 in percent, such as 95")
    return value


def _parse(text: str, option: str, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-zµ%]*)\s*", text)
    if match is None:
        raise ConfigError(f"{option} {text!r} is not a limit; write {example}")
    if match[2] not in units:
        known = ", ".join(unit for unit in units if unit) or "no unit"
        what = f"the unit {match[2]!r}" if match[2] else "no unit"
        raise ConfigError(f"{option} {text!r} has {what}; write {example} (units: {known})")
    value = float(match[1]) * units[match[2]]
    if not 0 < value < math.inf:
        raise ConfigError(f"{option} {text!r} must be above 0; write {example}")
    return value
