"""The ancestor: any timm model, with its own image size and normalisation, behind the student's images."""

from __future__ import annotations

import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
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


def untrained_teacher(section: TeacherSection, data: DataSection, classes: int) -> tuple[Callable[[], nn.Module], int]:
    """What builds the teacher's network without any weights, and the size of its images. Nothing is fetched."""
    from timm.models import get_pretrained_cfg

    there = section.weights is not None and Path(section.weights).is_file()
    card = read_card(Path(str(section.weights))) if there else None
    if card is not None:
        return partial(_create, card.timm), section.image_size or card.image_size
    call = TimmCall(section.model, {**section.options, "num_classes": classes})
    usual = None if section.recipe else get_pretrained_cfg(section.model)
    size = section.image_size or (usual.input_size[-1] if usual else data.image_size)
    return partial(_create, call), size


def fetched_already(section: TeacherSection) -> bool:
    """Whether timm's pretrained weights lie in the cache of this machine."""
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(f"timm/{_hub_name(section.model)}", name), str) for name in names)


def ask(teacher: nn.Module, images: Tensor) -> Tensor:
    """The teacher's logits, without gradient."""
    with torch.inference_mode():
        logits = teacher(images)
    return logits.clone()  # outside: what is born in there can't be kept for the student's backward pass


def _from_file(section: TeacherSection, classes: int) -> tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]:
    path = Path(str(section.weights))
    card = read_card(path)
    weights = read_weights(path)
    if card is not None:
        check_classes(card.classes, classes, str(path))
        net = _create(card.timm)
        load_strictly(net, weights, str(path))
        return net, card.image_size, card.mean, card.std
    net = _create(TimmCall(section.model, {**section.options, "num_classes": classes}))
    size, mean, std = _usual_input(net)
    load_strictly(net, as_timm_names_them(net, weights), f"{path} as {section.model} with {classes} classes")
    return net, size, mean, std


def _from_hub(section: TeacherSection, classes: int) -> tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]:
    _check_name(section.model)
    try:
        if not fetched_already(section):
            _reach_hub()
        net = _create(TimmCall(section.model, {**section.options, "pretrained": True}))
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, FileFormatError | ConfigError):
            raise
        raise ConfigError(
            f"the weights of teacher {section.model} can't be fetched ({type(error).__name__}: {str(error).splitlines()[0][:80]}); "
            f"where there is a network, `hf download timm/{_hub_name(section.model)} model.safetensors --local-dir .` gets them: "
            "bring that file and give --teacher model.safetensors"
        ) from error
    check_classes(int(getattr(net, "num_classes", classes)), classes, section.model)
    return (net, *_usual_input(net))


def _reach_hub() -> None:
    """Raises OSError where the hub can't be reached: its own client would try for a minute, and say so each time."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    if urllib.request.getproxies():  # then the proxy knows
        return
    address = urllib.parse.urlsplit(ENDPOINT)
    socket.create_connection((address.hostname or ENDPOINT, address.port or 443), timeout=10).close()


def as_timm_names_them(net: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as their authors published them, put right by timm where it can; else as they are."""
    translate = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if translate is None or set(weights) == set(net.state_dict()):
        return weights
    try:
        return dict(translate(weights, net))
    except (AssertionError, KeyError, RuntimeError, AttributeError, IndexError):
        return weights  # another network's: whoever loads them names the first that doesn't fit


def _hub_name(model: str) -> str:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    return str(config.hf_hub_id).removeprefix("timm/") if config and config.hf_hub_id else model


def _usual_input(net: nn.Module) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    usual: Mapping[str, Any] = getattr(net, "pretrained_cfg", {})
    return usual["input_size"][-1], tuple(usual["mean"]), tuple(usual["std"])


def _check_name(model: str) -> None:
    import timm

    if not is_buildable(model):
        near = timm.list_models(f"*{model.split('_')[0]}*")[:3]
        raise ConfigError(f"teacher {model!r} is unknown to timm{'; perhaps ' + ', '.join(near) if near else ''}")


def _create(call: TimmCall) -> nn.Module:
    import timm

    _check_name(call.name)
    try:
        return timm.create_model(call.name, **call.arguments)
    except (TypeError, AssertionError, KeyError) as error:
        raise ConfigError(f"timm can't build the teacher {call.source()}: {error}") from error


def check_classes(found: int, wanted: int, where: str) -> None:
    """Raises ConfigError where a teacher knows other classes than the data has. where: its file or name."""
    if found != wanted:
        raise ConfigError(
            f"teacher {where} knows {found} classes, the data has {wanted}; train one with `tleg train-teacher`"
        )


def _adapt(net: nn.Module, size: int, data: DataSection, mean: tuple[float, ...], std: tuple[float, ...]) -> Adapted:
    """(x * data.std + data.mean - mean) / std, as one product and one sum."""
    ours_mean, ours_std, its_mean, its_std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std, mean, std))
    return Adapted(net, size, ours_std / its_std, (ours_mean - its_mean) / its_std)
