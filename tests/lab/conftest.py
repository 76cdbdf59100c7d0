"""A comparison of seconds: 260 digits, networks of 16 dimensions, four steps an epoch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.training.train_teacher import train_teacher

DATA = "first/26:10/digits"
SETTINGS = [
    "backbone.options={img_size: 8, patch_size: 4, embed_dim: 16, num_heads: 2}",
    f"data.path={DATA}",
    "data.workers=0",
    "aux.allow_bad_teacher=true",
    "aux.batch_size=64",
]
EPOCH = 4  # steps


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """As `tleg lab` itself computes. For such small networks a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    train_teacher(tiny_config("teacher.recipe.batch_size=64", data=DATA), out, ALONE, Onlooker())
    return out / "teacher.safetensors"


@pytest.fixture
def protocol(tmp_path: Path, teacher: Path) -> Callable[..., Path]:
    """protocol(methods, **values): the file of a tiny protocol."""

    def write(methods: list[str], plus: Sequence[str] = (), **values: object) -> Path:
        settings = [*SETTINGS, "teacher.options={channels: [8, 8, 8, 8]}", "teacher.image_size=16"]
        content = {
            "preset": "digits",
            "settings": [*settings, f"teacher.weights={teacher}", *plus],
            "depths": "2,4",
            "seeds": [0],
            "budget": 18,
            "methods": methods,
            **values,
        }
        file = tmp_path / "protocol.yaml"
        file.write_text(yaml.safe_dump(content))
        return file

    return write
