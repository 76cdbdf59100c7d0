"""Which table of a checkpoint holds the weights: training codes nest them, save an EMA with them and prefix their names."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tleg_cli.errors import ConfigError
from tleg_cli.weights.header import plain
from tleg_cli.weights.pickles import Named
from tleg_cli.weights.torch_tensors import StoredTensor, stored_tensor

WHICH = ("auto", "raw", "ema")
_RAW_KEYS = ("model", "state_dict", "model_state_dict", "model_state", "module", "network", "net", "weights")
_EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DistributedDataParallel, torch.compile, Lightning
_DEEPEST = 3


@dataclass(frozen=True)
class WeightSet:
    """table: names as they are in the file. place: the keys that lead to it, joined by dots."""

    table: Mapping[str, Any]
    place: str


def weight_sets(content: Mapping[Any, Any]) -> dict[str, WeightSet]:
    """The sets "raw" and "ema" of a checkpoint, those that it has. See the lists of keys above."""
    return _sets(content, "", _DEEPEST, set())


def _sets(content: Any, place: str, deep: int, seen: set[int]) -> dict[str, WeightSet]:
    if not isinstance(content, dict) or not deep or id(content) in seen:
        return {}
    seen.add(id(content))
    if is_table(content):
        return {"raw": WeightSet(content, place)}
    found: dict[str, WeightSet] = {}
    for key in _RAW_KEYS:
        for which, one in _sets(content.get(key), f"{place}.{key}".strip("."), deep - 1, seen).items():
            found.setdefault(which, one)
    for key in _EMA_KEYS:
        inner = _sets(content.get(key), f"{place}.{key}".strip("."), deep - 1, seen)
        if inner:
            found.setdefault("ema", inner.get("ema") or inner["raw"])
    return found


def is_table(content: Mapping[Any, Any]) -> bool:
    """Whether it is a state dict: nothing but tensors by name."""
    return bool(content) and all(
        isinstance(name, str) and stored_tensor(value) is not None for name, value in content.items()
    )


def choose(sets: Collection[str], which: str) -> str:
    """ "raw" or "ema". auto: the EMA if there is one, as timm does. Raises ConfigError for a set that isn't there."""
    if which not in WHICH:
        raise ConfigError(f"weights {which!r} are unknown; choose {', '.join(WHICH)}")
    if which == "auto":
        return "ema" if "ema" in sets else "raw"
    if which not in sets:
        raise ConfigError(f"no {which} weights in this file; it has {' and '.join(sets)}")
    return which


def common_prefix(names: Mapping[str, Any]) -> str:
    """What wrappers put before every name, as `_orig_mod.module.`; "" if a single name doesn't begin with it."""
    prefix = ""
    while names:
        one = next(
            (
                prefix + p
                for p in _PREFIXES
                if all(n.startswith(prefix + p) and len(n) > len(prefix + p) for n in names)
            ),
            "",
        )
        if not one:
            break
        prefix = one
    return prefix


def kind_of(value: Any) -> str:
    """What a value of a torch file is, in a few words."""
    tensor = stored_tensor(value)
    if isinstance(tensor, StoredTensor):
        return f"tensor {list(tensor.info.shape)}"
    if isinstance(tensor, str):
        return f"tensor, {tensor}"
    if isinstance(value, Named):
        return value.name
    size = f" of {len(value)}" if isinstance(value, dict | list | tuple) else ""
    return f"{'dict' if isinstance(value, dict) else type(value).__name__}{size}"


def what_was_found(content: Any) -> str:
    """The first entries of a file that holds no weights, for the message that says so."""
    if not isinstance(content, dict):
        return kind_of(content)
    entries = list(_entries(content))
    return ", ".join(entries) + (", ..." if len(content) > len(entries) else "") if entries else "nothing"


def _entries(content: Mapping[Any, Any]) -> Iterator[str]:
    """Values that are not tensors come first: they are why it isn't a state dict."""
    ordered = sorted(itertools.islice(content.items(), 1000), key=lambda item: stored_tensor(item[1]) is not None)
    for key, value in ordered[:8]:
        inner = list(itertools.islice(value.items(), 1000)) if isinstance(value, dict) else []
        odd = [(name, one) for name, one in inner if stored_tensor(one) is None]
        but = f" with {str(plain(odd[0][0]))[:80]}: {kind_of(odd[0][1])}" if 0 < len(odd) < len(inner) else ""
        yield f"{str(plain(key))[:80]}: {kind_of(value)}{but}"
