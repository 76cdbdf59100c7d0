"""The command line in this process: fast enough to run every command many times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import as_options
from tleg_cli import cli


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Tleg = Callable[..., Done]


@pytest.fixture
def tleg(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tleg:
    """tleg("expand", path, "--depth", 6): runs main() and returns exit code, stdout and stderr."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["tleg", *map(str, arguments)])
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        return Done(code, *capfd.readouterr())

    return run


def in_its_own_process(*arguments: object, **environment: str) -> Done:
    """The same as a process of its own, for what changes the process: signals, torchrun."""
    done = subprocess.run(
        [sys.executable, "-m", "tleg_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=240,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Made:
    """What one tiny run of stage 1 leaves."""

    teacher: Path
    learngene: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    common = ["--preset", "digits", "--data", "digits", "--device", "cpu", *as_options("aux.epochs=1")]
    teacher = in_its_own_process("train-teacher", *common, "--out", root / "teacher")
    assert teacher.code == 0, teacher.err
    weights = root / "teacher" / "teacher.safetensors"
    aux = in_its_own_process("train-aux", *common, "--teacher", weights, "--out", root / "aux")
    assert aux.code == 0, aux.err
    return Made(weights, root / "aux" / "learngene.pt")
