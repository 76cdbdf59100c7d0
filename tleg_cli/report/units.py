"""Formats counts, shares, bytes and shapes for people. A missing value is shown as `-`."""

from __future__ import annotations

from collections.abc import Sequence


def count_of(count: int, one: str, many: str = "") -> str:
    """`1 image`, `1,297 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(count: float) -> str:
    """`15.7 M`."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f}"


def millions(count: int) -> str:
    """Parameters of a network: `1.268 M`."""
    return f"{count / 1e6:.3f} M"


def size(count: float) -> str:
    """Bytes: `17.2 MB`."""
    return f"{short(count)}B" if count >= 1000 else f"{count:.0f} B"


def duration(hours: float) -> str:
    """`12 s`, `3.5 min`, `41.2 h`, `12.4 days`."""
    if hours < 1 / 60:
        return f"{max(1, round(3600 * hours))} s"
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1: `97.2 %`."""
    return "-" if share is None else percents(100 * share, digits)


def percents(value: float | None, digits: int = 1) -> str:
    """What is a percentage already, such as a top-1: `97.2 %`."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f} %"  # + 0.0: no -0.0


def number(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.1e}"


def signed(value: float | None) -> str:
    """A cosine: `+0.912`."""
    return "-" if value is None else f"{value:+.3f}"


def shape(sizes: Sequence[int]) -> str:
    """`192x768`."""
    return "x".join(map(str, sizes)) or "scalar"
