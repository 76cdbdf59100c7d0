"""Tiny learngenes: the core needs no network."""

from collections.abc import Callable

import pytest
import torch

from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.learngene.input_spec import InputSpec

SHAPES = {"attn.qkv.weight": (6, 2), "attn.qkv.bias": (6,), "norm1.weight": (2,), "scale": ()}


@pytest.fixture(scope="session")
def make_learngene() -> Callable[..., Learngene]:
    """make_learngene(basis, depth): random theta in every stage, one shared tensor, everything else plain."""

    def make(basis: str = "linear", depth: tuple[int, ...] = (12,), seed: int = 0) -> Learngene:
        random = torch.Generator().manual_seed(seed)
        stages = ("blocks",) if len(depth) == 1 else tuple(f"layers.{stage}.blocks" for stage in range(len(depth)))
        chosen = get_basis(basis)
        theta = {
            f"{stage}.*.{name}": torch.randn(chosen.rank, *shape, generator=random)
            for stage in stages
            for name, shape in SHAPES.items()
        }
        metadata = Metadata(
            backbone="vit",
            options={"img_size": 8, "patch_size": 2},
            depth=depth,
            classes=10,
            input=InputSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            provenance={"seed": seed},
        )
        return Learngene(theta, {"head.weight": torch.randn(10, 2, generator=random)}, stages, chosen, metadata)

    return make
