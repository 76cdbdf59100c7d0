"""Trained networks as safetensors in timm's own key layout; timm loads them without tleg, tleg rebuilds them by their card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tleg_cli.errors import ConfigError, FileFormatError, first_line
from tleg_cli.files import atomic_file
from tleg_cli.learngene.file import is_safetensors, load_tensors
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import TimmCall, create_network, without_weights
from tleg_cli.models.timm_arguments import checked_arguments

FORMAT = "tleg-model"
FORMAT_VERSION = 1
KINDS = ("descendant", "teacher")
_MAX_CARD_CHARACTERS = 10_000_000


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
    """Writes `path` atomically. weights: the state dict of the network that `card.timm` builds."""
    names = {} if card.class_names is None else {"class_names": list(card.class_names)}
    header = {
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
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "tleg": json.dumps(header, allow_nan=False)})


def read_card(path: Path) -> ModelCard | None:
    """The card of a safetensors file, None if it has none (not written by tleg). Raises FileFormatError if it is damaged."""
    _check_is_file(path)
    if not is_safetensors(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("tleg", "")
        header = json.loads(text) if 0 < len(text) < _MAX_CARD_CHARACTERS else None
    except Exception as error:  # SafetensorError is a plain Exception; deep JSON raises RecursionError
        raise FileFormatError(f"{path} can't be read as a model: {first_line(error)}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return None
    try:
        return card_of(header)
    except (FileFormatError, ConfigError) as error:
        raise FileFormatError(f"{path}: {error}") from None


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
    """The state dict of a .safetensors or torch file, as it is or under "model" or "state_dict".

    Raises FileFormatError; nothing in the file is executed.
    """
    _check_is_file(path)
    if is_safetensors(path):
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        except Exception as error:  # SafetensorError is a plain Exception
            raise FileFormatError(f"{path} is no readable safetensors file: {first_line(error)}") from None
    content = load_tensors(path)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise FileFormatError(
            f"{path} holds no state dict (a table of tensors, alone or under 'model' or 'state_dict')"
        )
    return content


def check_shapes(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
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
