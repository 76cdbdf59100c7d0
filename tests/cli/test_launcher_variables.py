"""Variables of launchers: complete and consistent, or one line that names them and how to get rid of them."""

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import in_its_own_process
from tests.tiny import as_options
from tleg_cli.errors import ConfigError
from tleg_cli.launch.rank_environment import check_agreement, check_single_task, rank_environment

COMPLETE = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def test_a_complete_set_is_a_rank():
    found = rank_environment(COMPLETE)
    assert found is not None
    assert (found.rank, found.world_size, found.local_rank, found.local_world_size) == (3, 4, 1, 2)
    assert (found.master_addr, found.master_port) == ("node0", 29500)


@pytest.mark.parametrize("left", [{}, {"MASTER_ADDR": "node0"}, {"MASTER_PORT": "1", "OMP_NUM_THREADS": "2"}])
def test_an_address_alone_makes_no_rank(left):
    """Scripts export it for --rdzv-endpoint."""
    assert rank_environment(left) is None


@pytest.mark.parametrize("left", NUMBERS)
@pytest.mark.parametrize("value", ["0", "1", "", " ", "x"])
def test_one_variable_alone_is_named_with_the_way_to_unset_it(left, value):
    with pytest.raises(ConfigError, match="run: unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE") as wrong:
        rank_environment({left: value})
    assert f"{left}={value!r}" in str(wrong.value)


@pytest.mark.parametrize("missing", COMPLETE)
def test_a_set_that_lacks_one_names_it(missing):
    for value in (None, "", "  "):
        environment = {name: text for name, text in COMPLETE.items() if name != missing}
        if value is not None:
            environment[missing] = value
        with pytest.raises(ConfigError, match=f"but {missing} is missing or empty"):
            rank_environment(environment)


@pytest.mark.parametrize("name", [*NUMBERS, "MASTER_PORT"])
@pytest.mark.parametrize("value", ["-1", "1.0", "1e3", "one", "١", "+1", "1_0", "9" * 5000, "0x1", "1\x1b[31m"])
def test_what_is_no_number_is_shown(name, value):
    with pytest.raises(ConfigError, match=f"{name}=.* is not a number from 0 up") as wrong:
        rank_environment({**COMPLETE, name: value})
    assert len(str(wrong.value)) < 300


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"RANK": "4"}, "RANK counts from 0 to WORLD_SIZE - 1"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "RANK counts from 0 to WORLD_SIZE - 1"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK counts from 0 to LOCAL_WORLD_SIZE - 1"),
        ({"LOCAL_WORLD_SIZE": "8"}, "LOCAL_WORLD_SIZE is at most WORLD_SIZE"),
        ({"RANK": "0"}, "LOCAL_RANK is at most RANK"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT is between 1 and 65535"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT is between 1 and 65535"),
    ],
)
def test_values_that_contradict_each_other_name_the_rule(changed, rule):
    with pytest.raises(ConfigError, match=rule):
        rank_environment({**COMPLETE, **changed})


@pytest.mark.parametrize(
    ("gpus", "nodes", "agree"), [(1, 1, True), (2, 1, True), (2, 2, True), (4, 1, False), (2, 4, False)]
)
def test_what_is_asked_for_must_be_what_was_started(gpus, nodes, agree):
    found = rank_environment(COMPLETE)
    assert found is not None
    if agree:
        check_agreement(found, gpus, nodes)
    else:
        with pytest.raises(ConfigError, match="but a launcher has started"):
            check_agreement(found, gpus, nodes)


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_several_tasks_without_a_meeting_point_would_all_train_the_same(name):
    with pytest.raises(ConfigError, match=f"has started 4 tasks .*unset {name}"):
        check_single_task(1, {name: "4"})
    for value in ("1", "", "x", "0"):
        check_single_task(1, {name: value})
    check_single_task(4, {name: "4"})  # one on each of four machines


ENDED = {**COMPLETE, "RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}


@pytest.mark.parametrize(
    ("environment", "options", "words"),
    [
        ({"RANK": "0"}, ("--gpus", 2), "RANK='0'"),
        ({"LOCAL_RANK": "1"}, (), "LOCAL_RANK='1'"),
        ({"WORLD_SIZE": "x"}, (), "WORLD_SIZE='x'"),
        ({**ENDED, "LOCAL_WORLD_SIZE": "2"}, ("--gpus", 3), "--gpus 3, but a launcher has started 2 processes"),
        ({**COMPLETE, "TLEG_LAUNCHER": "1x"}, (), "unset TLEG_LAUNCHER"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, (), "srun has started 2 tasks"),
        ({"TLEG_HANG_TIMEOUT": "1e400x"}, (), "TLEG_HANG_TIMEOUT='1e400x'"),
    ],
)
def test_the_command_answers_left_over_variables_in_one_line(tleg, monkeypatch, tmp_path, environment, options, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = tleg(
        "train-teacher", "--preset", "digits", "--data", "digits", "--device", "cpu", "--out", tmp_path / "o", *options
    )
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert words in done.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["", "-1", "x", "1" * 30, "/nowhere", "0"])
def test_any_value_of_a_lone_variable_is_one_line(tleg, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    done = tleg("evaluate", "learngene.pt", "--data", "digits", "--device", "cpu")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("value", ["x", ""])
def test_wrong_values_of_what_makes_no_rank_are_harmless(tleg, made, monkeypatch, value):
    for name in (
        "MASTER_ADDR",
        "MASTER_PORT",
        "TORCHELASTIC_RUN_ID",
        "GROUP_RANK",
        "TLEG_ERROR_FOLDER",
        "SLURM_NTASKS",
    ):
        monkeypatch.setenv(name, value)
    done = tleg("evaluate", made.learngene, "--data", "digits", "--device", "cpu", "--workers", 0)
    assert (done.code, done.err) == (0, "")


def test_the_variables_of_a_job_that_has_ended_are_explained_and_ctrl_c_works(made, tmp_path):
    """Nothing answers at its address any more."""
    environment = {**ENDED, "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tleg_cli", "evaluate", str(made.learngene), "--data", "digits", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("rank 1 of 2 is waiting: nothing answers at 127.0.0.1:9; if this is not one of several")
    process.send_signal(2)
    assert process.wait(30) == 130
    assert process.stderr.read() == ""


@pytest.mark.slow
def test_under_torchrun_the_command_is_two_ranks(made, tmp_path):
    options = [
        "--preset",
        "digits",
        "--data",
        "digits",
        "--device",
        "cpu",
        *as_options("aux.epochs=1"),
        "--out",
        tmp_path,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tleg_cli"]
        + [str(word) for word in ("train-aux", "--teacher", made.teacher, *options)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1") == 1
    alone = in_its_own_process("train-aux", "--teacher", made.teacher, *options)
    assert alone.code == 1
    assert "processes" in alone.err  # another number of them is another run
