"""Trained networks as safetensors in timm's own key layout; timm loads them without tleg, tleg rebuilds them by their card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tleg_cli.errors import FileFormatError
from tleg_cli.files import atomic_file
from tleg_cli.learngene.file import is_safetensors, load_tensors
from tleg_cli.models.build import TimmCall, is_buildable

FORMAT = "tleg-model"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelCard:
    """What a network file says about itself, in the metadata of its safetensors header."""

    kind: str  # "descendant" or "teacher"
    timm: TimmCall
    classes: int
    image_size: int  # pixels, square
    mean: tuple[float, ...]  # of pixels in 0..1
    std: tuple[float, ...]
    crop_pct: float
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_model(path: Path, weights: Mapping[str, Tensor], card: ModelCard) -> None:
    """Writes `path` atomically. weights: the state dict of the network that `card.timm` builds."""
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(card), "create": card.timm.source()}
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "tleg": json.dumps(header, allow_nan=False)})


def read_card(path: Path) -> ModelCard | None:
    """The card of a safetensors file, None if it has none (not written by tleg). Raises FileFormatError if it is damaged."""
    if not path.is_file():
        raise FileFormatError(f"no model at {path}{': that is a folder' if path.is_dir() else ''}")
    if not is_safetensors(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("tleg")
        header = json.loads(text) if text else None
        if header is None or header["format"] != FORMAT:
            return None
        if header["format_version"] != FORMAT_VERSION:
            raise FileFormatError(
                f"{path} has format version {header['format_version']!r}; this tleg reads {FORMAT_VERSION}"
            )
        return _card(header)
    except FileFormatError:
        raise
    except Exception as error:  # SafetensorError is a plain Exception; a forged header raises others
        raise FileFormatError(f"{path} is no readable model: {str(error).splitlines()[0][:200]}") from None


def _card(header: Mapping[str, Any]) -> ModelCard:
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header["timm"]["arguments"].items()
    }
    mean, std = (tuple(float(number) for number in header[key]) for key in ("mean", "std"))
    return ModelCard(
        kind=str(header["kind"]),
        timm=TimmCall(str(header["timm"]["name"]), arguments),
        classes=int(header["classes"]),
        image_size=int(header["image_size"]),
        mean=mean,
        std=std,
        crop_pct=float(header["crop_pct"]),
        provenance=dict(header["provenance"]),
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a .safetensors or torch file, as it is or under "model" or "state_dict".

    Raises FileFormatError; nothing in the file is executed.
    """
    if not path.is_file():
        raise FileFormatError(f"no model at {path}{': that is a folder' if path.is_dir() else ''}")
    if is_safetensors(path):
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        except Exception as error:  # SafetensorError is a plain Exception
            raise FileFormatError(
                f"{path} is no readable safetensors file: {str(error).splitlines()[0][:200]}"
            ) from None
    content = load_tensors(path)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise FileFormatError(
            f"{path} holds no state dict (a table of tensors, alone or under 'model' or 'state_dict')"
        )
    return content


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Every weight in its place, none missing, none left over. Raises FileFormatError that names the first that isn't."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(set(expected) | set(found)):
        if expected.get(name) != found.get(name):
            raise FileFormatError(
                f"{where}: {name} has shape {found.get(name, 'none, it is missing')}, but {type(model).__name__} "
                f"expects {expected.get(name, 'no such weight')}"
            )
    model.load_state_dict(dict(weights), strict=True)


def load_card(card: ModelCard) -> nn.Module:
    """The freshly initialised network of a card. Raises FileFormatError if this timm can't build it."""
    import timm

    is_buildable(card.timm.name)  # for a plugin's network: timm knows it once the plugin is imported
    try:
        return timm.create_model(card.timm.name, **card.timm.arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise FileFormatError(f"timm can't build {card.timm.source()}: {error}") from error
