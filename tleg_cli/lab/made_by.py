"""What decides a row of a comparison, so that a row can be recognised when protocol, method or version have changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tleg_cli.config import Config
from tleg_cli.initialiser import Initialiser

# the weights don't follow from them, or they are in the steps and rates of the trainings themselves
_NO_RESULT: dict[str, Any] = {
    "data": {"workers"},
    "descendant": True,
    "trackers": True,
    "aux": {"checkpoint_every", "log_every", "on_nan"},
}


def made_by(method: Initialiser, images: int, trainings: Iterable[Config]) -> str:
    """A digest of a method's fields, the number of training images, and the configs of everything that is trained for a row.

    Values that are the default are left out, so that a later version with more of them finds its older rows.
    """
    configs = [config.model_dump(mode="json", exclude_defaults=True, exclude=_NO_RESULT) for config in trainings]
    text = json.dumps({"method": facts(method), "images": images, "trainings": configs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def facts(method: Initialiser) -> dict[str, Any]:
    """What of a method can be written down; a changed function is not noticed."""
    return {
        "trained_at": method.trained_at,
        "basis": method.basis,
        "settings": list(method.settings),
        "share": method.share,
        "teacher": method.teacher,
        "then": list(method.then),
        **({"ranked": True} if method.ranked else {}),
        **({} if method.mixing is None else {"mixing": [method.mixing.share, *method.mixing.settings]}),
    }


def differences(before: Any, now: Any, where: str = "") -> dict[str, str]:
    """Dotted key -> `before -> now`. A value that is missing is the same as an empty one."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return {
            key: line
            for name in sorted({*before, *now})
            for key, line in differences(before.get(name), now.get(name), f"{where}.{name}".lstrip(".")).items()
        }
    return {} if before == now or not (before or now) else {where: f"{before!r} -> {now!r}"}
