"""The ancestor: any timm model, with its own image size and normalisation, behind the student's images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tleg_cli.config import DataSection, TeacherSection
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.models.build import TimmCall, is_buildable
from tleg_cli.models.model_file import ModelCard, load_strictly, read_card, read_weights


class Adapted(nn.Module):
    """`net` behind images that were made for another network: resized to its size, its normalisation instead of theirs."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, image_size: int, scale: Tensor, shift: Tensor):
        super().__init__()
        self.net = net
        self.image_size = image_size
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, size, size)."""
        if images.shape[-1] != self.image_size:
            images = F.interpolate(images, size=(self.image_size, self.image_size), mode="bicubic", antialias=True)
        return self.net(images * self.scale + self.shift)


def new_teacher(section: TeacherSection, data: DataSection, classes: int) -> tuple[Adapted, ModelCard]:
    """A freshly initialised teacher to train on `data`, and the card for its file."""
    arguments = {**section.options, "num_classes": classes}
    call = TimmCall(section.model, arguments)
    size = section.image_size or data.image_size
    adapted = _adapt(_create(call), size, data, data.mean, data.std)
    return adapted, ModelCard("teacher", call, classes, size, data.mean, data.std, data.crop_pct)


def load_teacher(section: TeacherSection, data: DataSection, classes: int) -> Adapted:
    """The trained ancestor, in evaluation mode, without gradients: from `section.weights` or timm's hub.

    Raises ConfigError or FileFormatError: no file and no network, other classes than the data's, weights that don't fit.
    """
    net, size, mean, std = _from_file(section, classes) if section.weights else _from_hub(section, classes)
    adapted = _adapt(net, section.image_size or size, data, mean, std)
    return adapted.eval().requires_grad_(False)


def ask(teacher: nn.Module, images: Tensor) -> Tensor:
    """The teacher's logits, without gradient."""
    with torch.no_grad():
        return teacher(images)


def _from_file(section: TeacherSection, classes: int) -> tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]:
    path = Path(str(section.weights))
    card = read_card(path)
    weights = read_weights(path)
    if card is not None:
        _check_classes(card.classes, classes, str(path))
        net = _create(card.timm)
        load_strictly(net, weights, str(path))
        return net, card.image_size, card.mean, card.std
    net = _create(TimmCall(section.model, {**section.options, "num_classes": classes}))
    size, mean, std = _usual_input(net)
    load_strictly(net, weights, f"{path} as {section.model} with {classes} classes")
    return net, size, mean, std


def _from_hub(section: TeacherSection, classes: int) -> tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]:
    try:
        net = _create(TimmCall(section.model, {**section.options, "pretrained": True}))
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, FileFormatError | ConfigError):
            raise
        raise ConfigError(
            f"the weights of teacher {section.model} can't be fetched ({type(error).__name__}); with a network: "
            f"`hf download timm/{_hub_name(section.model)}`, or give a file: --teacher {section.model}.safetensors"
        ) from error
    _check_classes(int(getattr(net, "num_classes", classes)), classes, section.model)
    return (net, *_usual_input(net))


def _hub_name(model: str) -> str:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    return str(config.hf_hub_id).removeprefix("timm/") if config and config.hf_hub_id else model


def _usual_input(net: nn.Module) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    usual: Mapping[str, Any] = getattr(net, "pretrained_cfg", {})
    return usual["input_size"][-1], tuple(usual["mean"]), tuple(usual["std"])


def _create(call: TimmCall) -> nn.Module:
    import timm

    if not is_buildable(call.name):
        near = timm.list_models(f"*{call.name.split('_')[0]}*")[:3]
        raise ConfigError(f"teacher {call.name!r} is unknown to timm{'; perhaps ' + ', '.join(near) if near else ''}")
    try:
        return timm.create_model(call.name, **call.arguments)
    except (TypeError, AssertionError, KeyError) as error:
        raise ConfigError(f"timm can't build the teacher {call.source()}: {error}") from error


def _check_classes(found: int, wanted: int, where: str) -> None:
    if found != wanted:
        raise ConfigError(
            f"teacher {where} knows {found} classes, the data has {wanted}; train one with `tleg train-teacher`"
        )


def _adapt(net: nn.Module, size: int, data: DataSection, mean: tuple[float, ...], std: tuple[float, ...]) -> Adapted:
    """(x * data.std + data.mean - mean) / std, as one product and one sum."""
    ours_mean, ours_std, its_mean, its_std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std, mean, std))
    return Adapted(net, size, ours_std / its_std, (ours_mean - its_mean) / its_std)
