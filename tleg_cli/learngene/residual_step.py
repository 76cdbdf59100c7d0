"""The residual step: which words name it, and the power p of (R / L) ** p. Needs no torch."""

from __future__ import annotations

from tleg_cli.errors import ConfigError

NO_STEP, SCALED, DEEPER, REPEATS = "none", "scaled", "deeper", "repeats"
_LARGEST_POWER = 4.0
_SHRINKING, _GROWING = 0.5, 1.0  # the powers of "scaled", measured: docs/method.md


def check_step(step: str) -> None:
    """Raises ConfigError for anything but none, scaled, deeper, repeats or a number from 0 to 4."""
    if step != REPEATS:
        power_of(step, 1, 1)


def power_of(step: str, depth: int, trained: int) -> float:
    """p for a stage of `depth` blocks that was trained with `trained` blocks; `repeats` has none. Raises ConfigError: see check_step."""
    if step == NO_STEP:
        return 0.0
    if step == DEEPER:
        return 1.0 if depth > trained else 0.0
    if step == SCALED:
        return _GROWING if depth >= trained else _SHRINKING
    try:
        power = float(step)
    except ValueError:
        power = -1.0
    if not 0 <= power <= _LARGEST_POWER:
        raise ConfigError(
            f"step {step!r}: write {NO_STEP}, {SCALED}, {DEEPER}, {REPEATS}, or the power p as a number from 0 to "
            f"{_LARGEST_POWER:g}"
        )
    return power
