"""Trained networks as safetensors in timm's own key layout; timm loads them without tleg, tleg rebuilds them by their card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import TimmCall, create_network, without_weights
from tleg_cli.models.timm_arguments import checked_arguments
from tleg_cli.models.timm_config import write_timm_config
from tleg_cli.weights import open as open_file
from tleg_cli.weights.read_header import is_safetensors, read_header
from tleg_cli.weights.save import Later, at_once, save_later

FORMAT = "tleg-model"
FORMAT_VERSION = 1
KINDS = ("descendant", "teacher")


@dataclass(frozen=True)
class ModelCard:
    """What a network file says about itself, in the metadata of its safetensors header."""

    kind: str  # "descendant" or "teacher"
    timm: TimmCall
    classes: int
    input: InputSpec
    provenance: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None  # of the head's outputs, in order; None: the file doesn't name them


def write_model(path: Path, weights: Mapping[str, Tensor], card: ModelCard) -> None:
    """Writes `path` atomically, and timm's config.json next to it if timm would find the file there.

    weights: the state dict of the network that `card.timm` builds.
    """
    write_model_later(path, {name: at_once(tensor) for name, tensor in weights.items()}, card)


def write_model_later(path: Path, weights: Mapping[str, Later], card: ModelCard) -> None:
    """The same of weights that are made while the file is written."""
    save_later(path, weights, card_header(card))
    write_timm_config(path, card.timm, card.input, card.classes, card.class_names)


def card_header(card: ModelCard) -> dict[str, Any]:
    """What a file says about its network, as plain values; `card_of` reads it back."""
    names = {} if card.class_names is None else {"class_names": list(card.class_names)}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": card.kind,
        "timm": asdict(card.timm),
        "classes": card.classes,
        **card.input.values(),
        "provenance": dict(card.provenance),
        **names,
        "create": card.timm.source(),
    }


def read_card(path: Path) -> ModelCard | None:
    """The card of a safetensors file, None if it has none (not written by tleg). Raises FileFormatError if it is damaged."""
    _check_is_file(path)
    if not is_safetensors(path):
        return None
    header = read_header(path).tleg
    if not is_card(header):
        return None
    try:
        return card_of(header)
    except (FileFormatError, ConfigError) as error:
        raise FileFormatError(f"{path}: {error}") from None


def is_card(header: Mapping[str, Any]) -> bool:
    """Whether what tleg wrote about a file is a model's card."""
    return header.get("format") == FORMAT


def card_of(header: Mapping[str, Any]) -> ModelCard:
    """The card that a file's header holds. Raises FileFormatError that names the value that is missing or wrong."""
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise FileFormatError(f"format version {repr(version)[:40]}, but this tleg reads {FORMAT_VERSION}")
    kind, classes, call = header.get("kind"), header.get("classes"), header.get("timm")
    provenance, names = header.get("provenance", {}), header.get("class_names")
    for key, holds in (
        ("kind", kind in KINDS),
        ("classes", type(classes) is int and 0 <= classes <= 10_000_000),
        ("timm", isinstance(call, dict)),
        ("provenance", isinstance(provenance, dict)),
        ("class_names", names is None or _names_of(names, classes)),
    ):
        if not holds:
            raise FileFormatError(f"{key} = {repr(header.get(key))[:80]} is not what a model's card says there")
    assert isinstance(call, dict)
    backbone = str(provenance["backbone"]) if kind == "descendant" and "backbone" in provenance else None
    timm = TimmCall(*checked_arguments(call.get("name"), call.get("arguments"), backbone))
    if timm.arguments.get("num_classes", classes) != classes:
        raise FileFormatError(f"it has {classes} classes, but its network {timm.arguments['num_classes']}")
    shown = None if names is None else tuple(names)
    return ModelCard(str(kind), timm, int(str(classes)), InputSpec.from_values(header), provenance, shown)


def _names_of(names: Any, classes: Any) -> bool:
    return isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileFormatError(f"no model at {path}{': that is a folder' if path.is_dir() else ''}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a .safetensors or torch file; see weights/open.py, which reads it."""
    _check_is_file(path)
    return open_file.read_weights(path).tensors


def check_shapes(model: nn.Module, weights: Mapping[str, Tensor | Later], where: str) -> None:
    """Raises FileFormatError that names the first weight that is missing, left over or of another shape."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            raise FileFormatError(
                f"{where}: {name} has shape {found.get(name, 'none, it is missing')}, but {type(model).__name__} "
                f"expects {expected.get(name, 'no such weight')}"
            )


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Every weight in its place, none missing, none left over. Raises FileFormatError that names the first that isn't."""
    check_shapes(model, weights, where)
    model.load_state_dict(dict(weights), strict=True)


def network_of(card: ModelCard, weights: Mapping[str, Tensor], where: str) -> nn.Module:
    """The network of a card with these weights. Its shapes are compared first, so that no card can exhaust the memory.

    Raises FileFormatError if this timm can't build it or the weights are another network's.
    """
    try:
        check_shapes(without_weights(partial(create_network, card.timm)), weights, where)
        model = create_network(card.timm)
    except ConfigError as error:
        raise FileFormatError(f"{where}: {error}") from error
    load_strictly(model, weights, where)
    return model
