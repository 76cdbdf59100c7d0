"""The network of any weights file: by the card that tleg wrote, by the name of a timm model, or by names and shapes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import TimmCall, build_model, create_network, timm_call, without_weights
from tleg_cli.models.model_file import ModelCard, card_of, check_shapes, is_card, load_strictly, network_of
from tleg_cli.models.recognise import recognise
from tleg_cli.models.timm_arguments import checked_arguments
from tleg_cli.weights.open import Weights, first_not_finite, read_weights


@dataclass(frozen=True)
class OpenedNetwork:
    """A network with its weights and what is known about it. notes: what the user should know, one line each."""

    network: nn.Module
    card: ModelCard
    notes: tuple[str, ...] = ()


def open_network(
    path: Path, which: str = "auto", model: str | None = None, options: Mapping[str, Any] | None = None
) -> OpenedNetwork:
    """The network of a file.

    which: auto (the moving average if there is one), raw or ema. model: timm's name, for a file without a card. options: its
    arguments, or those of the backbone that its shapes show. Raises ConfigError or FileFormatError in one line.
    """
    weights = read_finite(path, which)
    notes = tuple(filter(None, [describe_choice(path, weights)]))
    if is_card(weights.header.tleg):
        if model is not None:
            raise ConfigError(f"{path} says itself which network it is; leave --model out")
        card = read_own_card(path, weights)
        return OpenedNetwork(network_of(card, weights.tensors, str(path)), card, notes)
    if model is not None:
        return OpenedNetwork(*_named(path, weights.tensors, model, options or {}), notes)
    return OpenedNetwork(*_recognised(path, weights.tensors, options or {}), notes)


def read_finite(path: Path, which: str = "auto") -> Weights:
    """The weights of a file. Raises FileFormatError if they hold NaN or infinity: no score of them would mean anything."""
    weights = read_weights(path, which)
    bad = first_not_finite(weights.tensors)
    if bad is not None:
        raise FileFormatError(f"{path} is damaged, or its training diverged: {bad} holds NaN or infinity")
    return weights


def describe_choice(path: Path, weights: Weights) -> str:
    """One line if the file had several sets of weights or names of a wrapper, else empty."""
    choice = weights.header.choice()
    return f"{path}: {choice}" if choice else ""


def read_own_card(path: Path, weights: Weights) -> ModelCard:
    """The card in a header that has one. Raises FileFormatError that names the file."""
    try:
        return card_of(weights.header.tleg)
    except (FileFormatError, ConfigError) as error:
        raise FileFormatError(f"{path}: {error}") from None


def _named(
    path: Path, weights: Mapping[str, Tensor], model: str, options: Mapping[str, Any]
) -> tuple[nn.Module, ModelCard]:
    """As the timm model of this name; its head says how many classes there are."""
    try:
        name, arguments = checked_arguments(model, dict(options))
    except FileFormatError as error:
        raise ConfigError(f"--model {model}: {error}") from None
    plain = without_weights(partial(create_network, TimmCall(name, arguments)))
    classes = head_classes(plain, weights)
    call = TimmCall(name, arguments if classes is None else {**arguments, "num_classes": classes})
    net = create_network(call)
    load_strictly(net, as_timm_names_them(net, dict(weights)), f"{path} as {model}")
    count = classes if classes is not None else int(getattr(net, "num_classes", 0))
    return net, ModelCard("teacher", call, count, usual_input(net))


def _recognised(path: Path, weights: Mapping[str, Tensor], options: Mapping[str, Any]) -> tuple[nn.Module, ModelCard]:
    try:
        found = recognise({name: tuple(value.shape) for name, value in weights.items()}, None, options=options)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}; if it is another network of timm, name it with --model") from None
    build = partial(build_model, found.backbone, found.options, found.depth, found.classes)
    check_shapes(without_weights(build), weights, str(path))
    net = build()
    load_strictly(net, weights, str(path))
    call = timm_call(found.backbone, found.options, found.depth, found.classes)
    return net, ModelCard("descendant", call, found.classes, found.input, {"backbone": found.backbone.name})


def head_classes(net: nn.Module, weights: Mapping[str, Tensor]) -> int | None:
    """How many outputs the classifier of these weights has; None if it isn't where timm's network has it."""
    places = (getattr(net, "pretrained_cfg", None) or {}).get("classifier") or ()
    for place in (places,) if isinstance(places, str) else places:
        for part in ("weight", "bias"):
            if f"{place}.{part}" in weights and weights[f"{place}.{part}"].ndim:
                return len(weights[f"{place}.{part}"])
    return None


def as_timm_names_them(net: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as their authors published them, renamed and resampled by timm where it can; else as they are."""
    translate = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if translate is None or set(weights) == set(net.state_dict()):
        return weights
    try:
        return dict(translate(weights, net))
    except (AssertionError, KeyError, RuntimeError, AttributeError, IndexError):
        return weights  # another network's: whoever loads them names the first that doesn't fit


def usual_input(net: nn.Module) -> InputSpec:
    """What timm says that the network expects of images."""
    usual: Mapping[str, Any] = getattr(net, "pretrained_cfg", None) or {}
    size = getattr(getattr(net, "patch_embed", None), "img_size", None) or usual.get("input_size", (3, 224, 224))[-2:]
    mean, std = (tuple(usual.get(key, (0.5, 0.5, 0.5))) for key in ("mean", "std"))
    return InputSpec(int(size[-1]), mean, std, float(usual.get("crop_pct") or 1.0))
