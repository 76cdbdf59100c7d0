"""Small files of weights to inspect."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import write_learngene
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.learngene.input_spec import InputSpec

SHAPES = {"norm1.weight": (8,), "attn.qkv.weight": (24, 8), "attn.qkv.bias": (24,), "mlp.fc1.weight": (32, 8)}


@pytest.fixture(scope="session")
def gene() -> Callable[..., Learngene]:
    def make(basis: str = "linear", depth: tuple[int, ...] = (6,), seed: int = 0) -> Learngene:
        random = torch.Generator().manual_seed(seed)
        stages = ("blocks",) if len(depth) == 1 else tuple(f"layers.{stage}.blocks" for stage in range(len(depth)))
        chosen = get_basis(basis)
        theta = {
            f"{stage}.*.{name}": torch.randn(chosen.rank, *shape, generator=random)
            for stage in stages
            for name, shape in SHAPES.items()
        }
        metadata = Metadata("vit", {"img_size": 8}, depth, 10, InputSpec(8, (0.5,) * 3, (0.5,) * 3))
        return Learngene(theta, {"head.weight": torch.randn(10, 8, generator=random)}, stages, chosen, metadata)

    return make


@pytest.fixture
def files(tmp_path: Path, gene: Callable[..., Learngene]) -> dict[str, Path]:
    """learngene; descendant: on its line; random: of the same shapes; trained: a descendant with noise."""
    one, random = gene(), torch.Generator().manual_seed(7)
    on_line = expand(one, 12)
    write_learngene(one, tmp_path / "learngene.pt")
    save_file(on_line, tmp_path / "descendant.safetensors")
    drawn = {name: torch.randn(tensor.shape, generator=random) for name, tensor in on_line.items()}
    torch.save({"model": drawn}, tmp_path / "random.pth")
    save_file({name: on_line[name] + 0.1 * drawn[name] for name in on_line}, tmp_path / "trained.safetensors")
    other = replace(one, theta={name: theta * 1.5 for name, theta in one.theta.items()})
    write_learngene(other, tmp_path / "other.safetensors")
    return {path.stem: path for path in tmp_path.iterdir()}
