"""A trained network of a registered backbone, from a file of anyone's or from timm: what a learngene can be made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.files import file_hash
from tleg_cli.learngene.gene import Metadata
from tleg_cli.models.any_file import usual_input
from tleg_cli.models.build import TimmCall, build_model
from tleg_cli.models.model_file import ModelCard, card_of, is_card
from tleg_cli.models.published import check_published, fetch_published
from tleg_cli.models.recognise import Recognised, recognise
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.open import open_weights


@dataclass(frozen=True)
class ReadNetwork:
    """A trained network of a registered backbone: what a learngene can be made of."""

    weights: Mapping[str, Tensor]
    stages: tuple[str, ...]
    metadata: Metadata
    carded: bool  # the file itself states what it is and expects


def read_network(
    checkpoint: Path, backbone: str | None = None, options: Mapping[str, Any] | None = None, which: str = "auto"
) -> ReadNetwork:
    """The network of a file. backbone, options: see recognise(). which: auto (the moving average if there is one), raw or ema.

    Raises FileFormatError for a file that is not a network of a registered backbone, ConfigError for a backbone that it isn't of.
    """
    with open_weights(checkpoint, which) as (header, get):
        if header.tleg.get("format") == LEARNGENE_FORMAT:
            raise FileFormatError(f"{checkpoint} is a learngene already; tleg expand makes networks of it")
        try:
            card = card_of(header.tleg) if is_card(header.tleg) else None
            found = recognise({name: info.shape for name, info in header.tensors.items()}, card, backbone, options)
            weights = {name: get(name) for name in header.tensors}
        except (FileFormatError, ConfigError) as error:
            raise type(error)(f"{checkpoint}: {error}") from None
        return ReadNetwork(
            weights, found.backbone.stages, _metadata(found, card, checkpoint, header.which), card is not None
        )


def read_published(name: str) -> ReadNetwork:
    """The network that timm publishes under a name, fetched if it isn't in the cache. Raises ConfigError if timm has no weights of it or
    it can't be fetched, FileFormatError if it is of no registered backbone."""
    check_published(name)
    net = fetch_published(
        TimmCall(name, {}), name, f"run `tleg adopt model.safetensors` in place of `tleg adopt {name}`"
    )
    weights = net.state_dict()
    found = recognise({key: tuple(tensor.shape) for key, tensor in weights.items()}, None)
    facts = {"fitted_to": name, "sha256": _hash_of(weights), "weights": "raw"}
    metadata = Metadata(found.backbone.name, found.options, found.depth, found.classes, usual_input(net), facts)
    network = ReadNetwork(weights, found.backbone.stages, metadata, carded=True)
    _check_same_function(net, found, name)
    return network


def _check_same_function(net: nn.Module, found: Recognised, name: str) -> None:
    """Raises FileFormatError unless the backbone computes what timm's network computes: shapes don't show a norm's eps, for example."""
    own = build_model(found.backbone, found.options, found.depth, found.classes)
    own.load_state_dict(net.state_dict(), strict=True)
    size = usual_input(net).image_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs, ours = net.eval()(images), own.eval()(images)
    if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4):
        raise FileFormatError(
            f"timm's {name} has the shapes of {found.backbone.name} but computes something else (largest difference of a logit "
            f"{float((ours - theirs).abs().max()):.2g}); register a backbone for it: docs/plugins.md"
        )


def _metadata(found: Recognised, card: ModelCard | None, checkpoint: Path, which: str) -> Metadata:
    return Metadata(
        backbone=found.backbone.name,
        options=found.options,
        depth=found.depth,
        classes=found.classes,
        input=found.input,
        provenance={
            "fitted_to": checkpoint.name,
            "sha256": file_hash(checkpoint),
            "weights": which,
            **({"of": dict(card.provenance)} if card else {}),
        },
        class_names=card.class_names if card else None,
    )


def _hash_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
