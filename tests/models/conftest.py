"""A ViT so small that it is built, trained and written in milliseconds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tleg_cli import plugin_manager
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import AuxNet, new_aux_net

OPTIONS = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}


@pytest.fixture(scope="session")
def metadata_of() -> Callable[..., Metadata]:
    def make(depth: tuple[int, ...] = (4,), backbone: str = "vit", options: Any = None, size: int = 8) -> Metadata:
        chosen = OPTIONS if options is None else options
        return Metadata(backbone, chosen, depth, 10, InputSpec(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))

    return make


@pytest.fixture(scope="session")
def make_aux_net(metadata_of) -> Callable[..., AuxNet]:
    """make_aux_net(basis, depth, random=True): an aux net in evaluation mode, with every number drawn if `random`."""

    def make(basis: str = "linear", depth: tuple[int, ...] = (4,), *, random: bool = True, **training: float) -> AuxNet:
        torch.manual_seed(0)
        metadata = metadata_of(depth)
        aux_net = new_aux_net(plugin_manager.get_backbone("vit"), get_basis(basis), metadata, **training)
        if random:
            with torch.no_grad():
                for parameter in aux_net.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        return aux_net.eval()

    return make


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
