"""Class names travel with weights: a head's names against the data's, in which order its outputs belong, and class maps.

A class map (`--class-map FILE`) says how the outputs of a head without names are called, or are called in the data:

- text: one name a line, the first line for output 0;
- JSON: a list of names (`["cat", "dog"]`), output -> name (`{"0": "cat", "1": "dog"}`) or, as torchvision writes its
  `class_to_idx`, name -> output (`{"cat": 0, "dog": 1}`).
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.errors import ConfigError, first_line

Order = tuple[int, ...]  # order[j]: the head's output that belongs to the data's class j
_MAX_MAP_BYTES = 10_000_000
_SHOWN = 3  # differences in an error


@dataclass(frozen=True)
class ClassMatch:
    """How a head's outputs belong to the data's classes. order: None where they are the data's already.

    note: one line for the user, None where there is nothing to report.
    """

    order: Order | None = None
    note: str | None = None


class OtherClasses(ConfigError):
    """A head knows other classes than the data."""


def match_classes(head: Sequence[str] | None, count: int, data: Sequence[str], where: str) -> ClassMatch:
    """The head's outputs for the data's classes. head: the names of its outputs, None where the file doesn't name them.

    count: how many outputs it has. where: its file, for messages. Equal sets in another order give an order and a note. Raises
    OtherClasses, in one line with the first differences, for other names or another number.
    """
    if count != len(data):
        raise OtherClasses(f"{where} knows {count} classes, but the data has {len(data)}")
    if head is None:
        return ClassMatch(note=f"{where} does not name its classes; taken to be the data's, in the data's order")
    ours, theirs = ([unicodedata.normalize("NFC", name) for name in names] for names in (head, data))
    if ours == theirs:
        return ClassMatch()
    if Counter(ours) != Counter(theirs) or len(set(ours)) < len(ours):
        raise OtherClasses(
            f"{where} was trained on other classes than the data's: {differences(head, data)}. If they are the same classes "
            "under other names, give their names in the data with --class-map FILE"
        )
    place = {name: output for output, name in enumerate(ours)}
    order = tuple(place[name] for name in theirs)
    moved = next(label for label, output in enumerate(order) if label != output)
    return ClassMatch(
        order,
        f"{where} has the data's classes in another order (its class {moved} is {head[moved]!r}, the data's {data[moved]!r}); "
        "its outputs are put into the data's order",
    )


def differences(head: Sequence[str], data: Sequence[str]) -> str:
    """The first classes that differ, in words."""
    differ = [label for label, (ours, theirs) in enumerate(zip(head, data, strict=True)) if ours != theirs]
    shown = ", ".join(f"class {label} is {head[label]!r}, not {data[label]!r}" for label in differ[:_SHOWN])
    return shown + (f" and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else "")


def reorder_head(weights: Mapping[str, Tensor], head: Collection[str], order: Order) -> dict[str, Tensor]:
    """The weights with the classifier's outputs in another order. head: the names of its modules, as in `("head",)`.

    Weights (classes, width) and biases (classes,) change their rows; everything else is as it was.
    """
    index = list(order)
    return {
        name: value[index].clone() if in_modules(name, head) and value.ndim and len(value) == len(order) else value
        for name, value in weights.items()
    }


def in_modules(name: str, modules: Collection[str]) -> bool:
    """Whether a weight lies in one of these modules."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


class Reordered(nn.Module):
    """A network with its logits in another order, whatever its head is made of."""

    index: Tensor

    def __init__(self, network: nn.Module, order: Order):
        super().__init__()
        self.network = network
        self.register_buffer("index", torch.tensor(order), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, size, size)."""
        logits: Tensor = self.network(images)
        return logits.index_select(1, self.index)


def reordered(network: nn.Module, match: ClassMatch) -> nn.Module:
    """The network as it is, or with its logits in the data's order."""
    return network if match.order is None else Reordered(network, match.order)


def read_class_map(path: Path, count: int) -> tuple[str, ...]:
    """The names in a class map, by output. Raises ConfigError unless it has one name for each of the `count` outputs."""
    try:
        if not path.is_file():
            raise ConfigError(f"no class map at {path}{': that is a folder' if path.is_dir() else ''}")
        if path.stat().st_size > _MAX_MAP_BYTES:
            raise ConfigError(f"class map {path} is larger than {_MAX_MAP_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"class map {path} can't be read: {first_line(error)}") from None
    names = _of_json(text, path) if text.lstrip()[:1] in ("[", "{") else _of_lines(text)
    if len(names) != count:
        raise ConfigError(f"class map {path} has {len(names)} names, but the head has {count} outputs")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ConfigError(f"class map {path} has {twice[0]!r} more than once; each output needs a name of its own")
    return tuple(names)


def _of_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _of_json(text: str, path: Path) -> list[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"class map {path} is not JSON, though it begins like it: {first_line(error)}") from None
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    by_output = _by_output(content) if isinstance(content, dict) else None
    if by_output is None or set(by_output) != set(range(len(by_output))):
        raise ConfigError(
            f'class map {path}: write a list of names, {{"0": name, "1": name, ...}} or {{name: 0, name: 1, ...}}, '
            "with every output from 0 once"
        )
    return [by_output[output] for output in range(len(by_output))]


def _by_output(content: Mapping[str, Any]) -> dict[int, str] | None:
    """output -> name, of either way round; None for anything else."""
    if all(
        isinstance(value, str) and key.isascii() and key.isdigit() and len(key) < 9 for key, value in content.items()
    ):
        return {int(key): value for key, value in content.items()}
    if all(type(value) is int for value in content.values()) and len(set(content.values())) == len(content):
        return {value: key for key, value in content.items()}
    return None
