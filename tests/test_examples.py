"""Every example runs: the commands in its text are taken from there, with a training made tiny."""

import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.tiny import as_options
from tleg_cli.cli import app
from tleg_cli.errors import DataError

EXAMPLES = Path(__file__).parent.parent / "examples"
TRAININGS = ("train-teacher", "train-aux")


def run_commands_of(example: str) -> None:
    """The `tleg` lines in the docstring of an example, in the working directory."""
    lines = [line.strip() for line in (EXAMPLES / f"{example}.py").read_text().split('"""')[1].splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("tleg ")]
    assert commands
    for words in commands:
        tiny = [*as_options("aux.epochs=1"), "--device", "cpu"] if words[0] in TRAININGS else []
        done = CliRunner().invoke(app, [*words, *tiny])
        assert done.exit_code == 0, f"{words}\n{done.output}\n{done.exception!r}"


@pytest.mark.parametrize("example", ["own_basis", "own_data"])
def test_the_commands_of_a_plugin_run(publish, tmp_path, monkeypatch, example):
    monkeypatch.chdir(tmp_path)
    publish((EXAMPLES / f"{example}.py").read_text(), example)
    run_commands_of(example)
    networks = sorted((tmp_path / "runs").glob("*/networks/*.safetensors"))
    assert len(networks) == (0 if example == "own_data" else 10)


def test_the_networks_of_the_own_backbone_need_only_timm(publish, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish((EXAMPLES / "own_backbone.py").read_text(), "own_backbone")
    run_commands_of("own_backbone")
    grown = CliRunner().invoke(
        app, ["expand", "runs/relpos/learngene.pt", "--depth", "9", "--out", "deep", "--step", "scaled"]
    )
    assert grown.exit_code == 0, grown.output
    sizes = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "num_heads": 2}
    model = timm.create_model("vit_relpos_small_patch16_224", depth=5, num_classes=10, **sizes)
    (file,) = (tmp_path / "runs").rglob("*depth-05.safetensors")
    model.load_state_dict(load_file(file), strict=True)


def test_a_count_that_is_not_a_number_is_one_line(publish):
    publish((EXAMPLES / "own_data.py").read_text(), "own_data")
    done = CliRunner().invoke(app, ["prepare", "stripes/many", "out"])
    assert isinstance(done.exception, DataError)
    assert str(done.exception) == "stripes/many: write the number of images, at least 4, as in stripes/400"


def test_a_learngene_from_a_timm_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["learngene_from_timm.py", "vit_tiny_patch16_224", str(tmp_path / "out")])
    runpy.run_path(str(EXAMPLES / "learngene_from_timm.py"), run_name="__main__")
    first, *others = capsys.readouterr().out.splitlines()
    assert "R2 = 0." in first
    assert [line.split(":")[0] for line in others] == ["depth 3", "depth 6", "depth 9"]
    assert (tmp_path / "out" / "learngene.pt").exists()


@pytest.fixture
def slurm(tmp_path):
    """run(*options, **variables): slurm.sh where srun runs one task after another, and scontrol writes down what it is asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol.log; echo node1; echo node2',
        "srun": 'code=0; for node in $(seq 0 $((SLURM_JOB_NUM_NODES - 1))); do SLURM_NODEID=$node "$@" || code=$?; done; exit $code',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)

    def run(*options: str, tleg: str, **variables: str) -> tuple[int, str]:
        (programs / "tleg").write_text(f"#!/bin/bash\n{tleg}\n")
        (programs / "tleg").chmod(0o755)
        job = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **job, **variables}
        script = ["bash", str(EXAMPLES / "slurm.sh"), *options]
        done = subprocess.run(script, capture_output=True, text=True, env=environment, cwd=tmp_path)
        log = tmp_path / "scontrol.log"
        return done.returncode, done.stdout + done.stderr + log.read_text()

    return run


def test_under_slurm_every_node_gets_its_rank(slurm):
    assert subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"]).returncode == 0
    code, output = slurm("--set", "aux.epochs=2", tleg='echo "tleg $@"', SLURM_GPUS_ON_NODE="8")
    assert code == 0
    for rank in (0, 1):
        command = f"tleg train-aux --nodes 2 --node-rank {rank} --rdzv-endpoint node1:32345 --gpus 8 --preset small"
        assert f"{command} --data /fast/imagenet --out runs/small-aux --set aux.epochs=2" in output
    assert "requeue" not in output


@pytest.mark.parametrize(("code", "requeued"), [(75, True), (1, False), (0, False)])
def test_under_slurm_a_stopped_run_is_requeued(slurm, code, requeued):
    ended, output = slurm(tleg=f"exit {code}")
    assert ended == code
    assert ("requeue 12345" in output) == requeued


@pytest.mark.slow
def test_under_slurm_one_node_trains(slurm, tmp_path):
    usual = ["--preset", "digits", "--data", "digits", "--device", "cpu", *as_options("aux.epochs=1")]
    teacher = str(tmp_path / "teacher")
    assert CliRunner().invoke(app, ["train-teacher", *usual, "--out", teacher]).exit_code == 0
    code, output = slurm(
        *("--device", "cpu", "--teacher", f"{teacher}/teacher.safetensors", *as_options("aux.epochs=1")),
        tleg=f'exec {sys.executable} -m tleg_cli "$@"',
        **{"PRESET": "digits", "DATA": "digits", "OUT": "aux", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NUM_NODES": "1"},
    )
    assert code == 0, output
    assert (tmp_path / "aux" / "learngene.pt").exists()


@pytest.mark.slow
def test_the_notebook_runs_and_its_scores_are_those_of_tleg(tmp_path, monkeypatch):
    cells = json.loads((EXAMPLES / "any_depth.ipynb").read_text())["cells"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("TLEG_NOTEBOOK", "--set aux.epochs=1 --set aux.warmup_epochs=0")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "any_depth.ipynb", "exec"), names)
            assert cell["execution_count"], "its outputs are stored"
    words = [
        "evaluate",
        "runs/quickstart/aux/learngene.pt",
        "--data",
        "digits",
        "--depth",
        "2,9,24",
        "--device",
        "cpu",
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    scored = {int(one["depth"]): one["top1"] for one in json.loads(done.stdout)["depths"]}
    ours = dict(zip(names["depths"], names["top1"], strict=True))
    assert {depth: ours[depth] for depth in scored} == pytest.approx(
        scored, abs=0.21
    )  # of 500 images one may be rounded
