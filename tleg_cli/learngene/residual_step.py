"""The residual step (R / L) ** p: what its power is, and which words name it. Needs no torch."""

from __future__ import annotations

from tleg_cli.errors import ConfigError

NO_STEP, SCALED, DEEPER = "none", "scaled", "deeper"
_LARGEST_POWER = 4.0
_SHRINKING, _GROWING = 0.5, 1.0  # the powers of "scaled", measured: docs/method.md


def check_step(step: str) -> None:
    """Raises ConfigError for anything but none, scaled, deeper or a number from 0 to 4."""
    power_of(step, 1, 1)


def power_of(step: str, depth: int, trained: int) -> float:
    """p for a stage of `depth` blocks that was trained with `trained` blocks. Raises ConfigError: see check_step."""
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
            f"step {step!r}: write {NO_STEP}, {SCALED}, {DEEPER}, or the power p as a number from 0 to {_LARGEST_POWER:g}"
        )
    return power
