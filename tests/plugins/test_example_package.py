"""A third party's package: built, installed next to the wheel of tleg in a new environment, trained and expanded."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "plugins" / "example-fnet"
SIZES = "backbone.options={img_size: 8, patch_size: 2, embed_dim: 32}"


def run(*command: str | Path, folder: Path) -> str:
    """stdout of a command that has to succeed, in an environment without this checkout."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TLEG_LOAD_PLUGINS")}
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, env=kept)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wheel_of(source: Path, tmp_path: Path) -> Path:
    """Built from a copy, so that nothing is written into the checkout."""
    copy = tmp_path / f"source-{source.name}"
    left_out = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(source, copy, ignore=left_out)
    (copy / "README.md").touch()
    out = tmp_path / f"wheel-{source.name}"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", out]
    run(sys.executable, "-m", "pip", "wheel", *options, copy, folder=tmp_path)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a fresh environment's programs, and the wheel of tleg that is installed there."""
    place = tmp_path_factory.mktemp("package")
    wheels = [wheel_of(ROOT, place), wheel_of(EXAMPLE, place)]
    fresh = place / "fresh"
    run(sys.executable, "-m", "venv", "--without-pip", fresh, folder=place)
    python = fresh / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", "-q", *wheels]
    run(sys.executable, "-m", "pip", "--python", python, *install, folder=place)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=place).strip()
    # torch and others are read from this environment, not installed again; its tleg comes after the wheel's
    (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return fresh / "bin", wheels[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_holds_the_built_in_plugins_and_no_example(environment):
    names = zipfile.ZipFile(environment[1]).namelist()
    for there in (
        "tleg_cli/plugins/deit.py",
        "tleg_cli/presets/swin-tiny.yaml",
        "tleg_cli/py.typed",
        "tleg_cli/api.py",
    ):
        assert there in names
    assert not [name for name in names if "example" in name or "fnet" in name or name.startswith(("plugins", "tests"))]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_third_partys_plugin_from_train_aux_to_evaluate(environment, tmp_path):
    programs, _ = environment
    tleg = programs / "tleg"
    assert (
        Path(run(programs / "python", "-c", "import tleg_cli; print(tleg_cli.__file__)", folder=tmp_path))
        .resolve()
        .is_relative_to(programs.parent.resolve())
    )
    plugins = {one["name"]: one for one in json.loads(run(tleg, "plugins", "--json", folder=tmp_path))["plugins"]}
    assert plugins["fnet"] == {
        "name": "fnet",
        "version": "1.0.0",
        "source": "tleg-fnet (tleg_fnet)",
        "hooks": {"tleg_backbones": ["fnet"]},
        "error": None,
    }
    usual = ["--preset", "digits", "--data", "digits", "--device", "cpu"]
    run(tleg, "train-teacher", *usual, "--set", "teacher.recipe.epochs=1", "--out", "teacher", folder=tmp_path)
    network = ["--set", "backbone.name=fnet", "--set", SIZES]
    teacher = ["--teacher", "teacher/teacher.safetensors", "--allow-bad-teacher"]
    run(tleg, "train-aux", *usual, *network, *teacher, "--set", "aux.epochs=1", "--out", "aux", folder=tmp_path)
    grown = run(tleg, "expand", "aux/learngene.pt", "--depth", "3,6,9", "--out", "grown", "--json", folder=tmp_path)
    assert json.loads(grown)
    files = sorted((tmp_path / "grown").glob("*.safetensors"))
    assert len(files) == 3
    score = json.loads(
        run(tleg, "evaluate", files[0], "--data", "digits", "--device", "cpu", "--json", folder=tmp_path)
    )
    assert score["images"] == 500
    plain = (
        "import sys, timm, tleg_fnet\n"
        "for file, depth in zip(sys.argv[1:], (3, 6, 9)):\n"
        "    model = timm.create_model('fnet', img_size=8, patch_size=2, embed_dim=32, depth=depth, num_classes=10,\n"
        "                              checkpoint_path=file)\n"
        "    print(len(model.blocks))\n"
    )
    assert run(programs / "python", "-c", plain, *files, folder=tmp_path).split() == ["3", "6", "9"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_the_plugin_its_backbone_is_unknown_in_one_line(environment, tmp_path):
    kept = {**os.environ, "TLEG_LOAD_PLUGINS": ""}
    command = [
        environment[0] / "tleg",
        "train-aux",
        "--preset",
        "digits",
        "--set",
        "backbone.name=fnet",
        "--data",
        "digits",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=kept)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: backbone 'fnet' is unknown.")
    assert len(done.stderr.splitlines()) == 1
