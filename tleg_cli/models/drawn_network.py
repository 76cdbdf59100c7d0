"""A small network whose weights are all drawn, to check on the real network what a backbone declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth
from tleg_cli.models.build import build_model

_PIXELS = 64  # of networks that take images of any size


def drawn_network(
    backbone: Backbone, options: Mapping[str, Any], depth: Depth, classes: int
) -> tuple[nn.Module, Tensor]:
    """The network in float64 and one image, (1, 3, size, size); the same in every call. Fresh weights may hide parts behind zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(backbone, options, depth, classes).eval().double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        size = options.get("img_size", backbone.options.get("img_size", _PIXELS))
        return model, torch.randn(1, 3, size, size, dtype=torch.float64)
