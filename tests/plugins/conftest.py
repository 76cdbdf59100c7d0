"""What plugins are tried on: a learngene's metadata and a few images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec


@pytest.fixture(scope="session")
def metadata_of() -> Callable[..., Metadata]:
    usual = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}

    def make(depth: tuple[int, ...], backbone: str = "vit", options: Any = None, size: int = 8) -> Metadata:
        return Metadata(backbone, options or usual, depth, 10, InputSpec(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))

    return make


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
