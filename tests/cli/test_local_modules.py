"""Modules in the current folder are not imported: not by the command, not by python -m, not by its ranks."""

import os
import subprocess
import sys

import pytest

from tests.tiny import as_options

LOCAL = ("yaml.py", "timm/__init__.py", "rich.py", "tleg_cli/__init__.py")


@pytest.fixture
def folder(tmp_path):
    for name in LOCAL:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit(f'{__file__} was imported')\n")
    return tmp_path


def run(folder, *command, **environment):
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_python_m_imports_what_the_command_imports(folder):
    (folder / "tleg_cli" / "__init__.py").unlink()
    (folder / "tleg_cli").rmdir()  # python -m itself looks for it here
    done = run(folder, sys.executable, "-m", "tleg_cli", "doctor")
    assert "was imported" not in done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "extra"], ids=["plain", "with-PYTHONPATH"])
def test_ranks_import_what_the_command_imports(folder, path):
    """A folder of PYTHONPATH is the user's wish, and counts for both."""
    (folder / "extra").mkdir()
    tleg = os.path.join(os.path.dirname(sys.executable), "tleg")
    options = (
        "--preset",
        "digits",
        "--data",
        "digits",
        "--device",
        "cpu",
        *as_options("teacher.recipe.batch_size=128"),
    )
    environment = {"PYTHONPATH": str(folder / path)} if path else {}
    done = run(folder, tleg, "train-teacher", *options, "--gpus", 2, "--out", folder / "run", **environment)
    assert done.returncode == 0, done.stderr
    assert (folder / "run" / "teacher.safetensors").exists()
