"""A folder and a small learngene for everything that is damaged thousands of times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tleg_cli import plugin_manager


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def gene(folder: Path):
    """A learngene of random numbers, small enough to be damaged thousands of times."""
    from tests.tiny import tiny_config
    from tleg_cli.learngene.gene import Metadata
    from tleg_cli.models.aux_net import new_aux_net

    config = tiny_config()
    data = config.data
    metadata = Metadata("vit", config.backbone.options, (3,), 10, data.input)
    net = new_aux_net(plugin_manager.get_backbone("vit"), plugin_manager.get_basis("linear"), metadata)
    return replace(net.learngene(), metadata=metadata)


@pytest.fixture
def target(request: pytest.FixtureRequest, folder: Path, gene):
    """What the module's TARGETS has of this name."""
    return request.module.TARGETS[request.param](folder, gene)
