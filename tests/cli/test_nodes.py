"""Several machines, played by agents on this one: they meet, or it is said in one line who didn't come."""

import socket
import subprocess
import sys
import time

import pytest
import torch

from tests.cli.conftest import in_its_own_process
from tests.tiny import as_options

COMMON = ("--preset", "digits", "--device", "cpu", "--data", "digits")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def aux(made, out, *options):
    settings = as_options("augmentation.crop_scale=null", "aux.epochs=1", "aux.batch_size=64")
    return ["train-aux", *COMMON, "--teacher", made.teacher, *settings, "--out", out, *options]


def node(made, out, rank, port, *options):
    meeting = ("--nodes", 2, "--node-rank", rank, "--rdzv-endpoint", f"127.0.0.1:{port}")
    return aux(made, out, "--gpus", 2, *meeting, *options)


def started(arguments):
    command = [sys.executable, "-m", "tleg_cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_nodes_of_two_processes_are_one_run_of_four(made, tmp_path):
    port = free_port()
    nodes = [started(node(made, tmp_path / "two", rank, port)) for rank in range(2)]
    said = [process.communicate(timeout=240) for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], said
    assert sum(out.count("top-1") for out, _ in said) == 1  # one screen over both
    noise = [
        line
        for _, err in said
        for line in err.splitlines()
        if not line.startswith(("epoch ", "1 epoch of", "teacher "))
    ]
    assert noise == []
    four = in_its_own_process(*aux(made, tmp_path / "four", "--gpus", 4))
    assert four.code == 0, four.err
    weights = [torch.load(tmp_path / run / "learngene.pt", weights_only=True)["theta"] for run in ("two", "four")]
    assert all((weights[0][name] - weights[1][name]).abs().max() < 1e-6 for name in weights[0])


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "words"), [(0, "node 1 has not joined"), (1, "node 0 can't be reached")])
def test_a_node_that_never_joins_is_named_when_the_time_is_up(made, tmp_path, rank, words):
    began = time.monotonic()
    done = in_its_own_process(*node(made, tmp_path / "out", rank, free_port(), "--rdzv-timeout", 4))
    assert done.code == 1
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert "within 4 s" in lines[0]
    assert time.monotonic() - began < 60


@pytest.mark.slow
@pytest.mark.parametrize("who", [("--node-rank", 1), ()], ids=["node-1", "no-rank"])
def test_another_program_behind_the_port_does_not_hang(made, tmp_path, who):
    """Something listens there and never answers: a web server, say."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        meeting = ("--nodes", 2, *who, "--rdzv-endpoint", f"127.0.0.1:{other.getsockname()[1]}", "--rdzv-timeout", 3)
        done = in_its_own_process(*aux(made, tmp_path / "out", "--gpus", 2, *meeting))
    assert done.code == 1
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert "within 3 s" in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_port_in_use_is_named(tleg, made, tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = tleg(*node(made, tmp_path / "out", 0, port))
    assert done.code == 1
    assert f"port {port}" in done.err
    assert "in use" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--nodes", 2), "--rdzv-endpoint HOST:PORT"),
        (("--nodes", 2, "--rdzv-endpoint", "here"), "write HOST:PORT"),
        (("--nodes", 2, "--rdzv-endpoint", "here:99999"), "write HOST:PORT"),
        (("--nodes", 2, "--rdzv-endpoint", "localhost:29500", "--node-rank", 2), "allows 0 to 1"),
        (("--nodes", 2, "--rdzv-endpoint", "nowhere.invalid:29500"), "host 'nowhere.invalid' is unknown"),
        (("--node-rank", 1), "--node-rank only applies to multi-machine runs; also pass --nodes N"),
    ],
)
def test_a_wrong_rendezvous_is_one_line(tleg, made, tmp_path, options, words):
    done = tleg(*aux(made, tmp_path / "out", *options))
    assert done.code == 1
    assert words in done.err
    assert done.err.count("\n") == 1


def test_what_follows_two_dashes_goes_to_torchrun_and_other_ranks_print_into_the_run_folder(made, tmp_path):
    done = in_its_own_process(
        *aux(made, tmp_path / "out", "--gpus", 2, "--", "--tee", "1:3", "--no-such-option-of-torchrun"),
    )
    assert done.code == 2
    assert "--no-such-option-of-torchrun" in done.err
    done = in_its_own_process(*aux(made, tmp_path / "out", "--gpus", 2), PYTHONVERBOSE="1")  # every rank chatters
    assert done.code == 0
    logs = list((tmp_path / "out" / "logs" / "node-0").rglob("1/stderr.log"))
    assert len(logs) == 1
    assert "import" in logs[0].read_text()


@pytest.mark.slow
def test_ranks_that_say_nothing_leave_no_logs(made, tmp_path):
    done = in_its_own_process(*aux(made, tmp_path / "out", "--gpus", 2))
    assert done.code == 0, done.err
    assert not list((tmp_path / "out").rglob("*.log"))
