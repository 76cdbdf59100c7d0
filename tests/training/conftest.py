"""One tiny teacher for all trainings, and the digits as betons."""

from pathlib import Path

import pytest

from tests.data.conftest import prepare
from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.training.train_teacher import train_teacher


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    train_teacher(tiny_config(), out, ALONE, Onlooker())
    return out / "teacher.safetensors"


@pytest.fixture(scope="session")
def digits_betons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("digits", tmp_path_factory.mktemp("digits"))
