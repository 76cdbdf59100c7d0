"""Ranks that die or hang, as processes: the others are told, started again or ended, and nothing is left behind."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.data.conftest import write_folder
from tests.processes import (
    alive,
    aux_command,
    children,
    descendants,
    learngenes,
    same_weights,
    saved,
    start,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
TWO = ("--gpus", "2")


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("torch_*")}  # what others make has other names


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """Two ranks that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole")
    process = start(aux_command(made.teacher, out, *TWO, epochs=30, batch_size=64), out / "err")
    assert process.wait(200) == 0, (out / "err").read_text()
    return out


def in_training(made, out, err, *options, **environment):
    """A run of two ranks with its first checkpoint on the disk, and the ranks."""
    process = start(aux_command(made.teacher, out, *TWO, *options, epochs=30, batch_size=64), err, **environment)
    assert wait_until(lambda: saved(out), process), err.read_text()
    return process, children(process)


@pytest.mark.parametrize("rank", [0, 1])
def test_after_kill_9_of_a_rank_all_start_again_and_end_in_the_same_weights(made, whole, tmp_path, rank):
    process, ranks = in_training(made, tmp_path / "run", tmp_path / "err", "--max-restarts", "1")
    os.kill(ranks[rank], signal.SIGKILL)
    assert process.wait(200) == 0, (tmp_path / "err").read_text()
    err = (tmp_path / "err").read_text()
    assert f"rank {rank} died at step" in err
    assert "resuming at step" in err
    assert "Traceback" not in err
    assert not alive(ranks)
    assert same_weights(tmp_path / "run", whole)


def test_without_restarts_it_is_one_line_that_names_the_rank(made, tmp_path):
    process, ranks = in_training(made, tmp_path / "run", tmp_path / "err")
    os.kill(ranks[1], signal.SIGKILL)
    assert process.wait(100) == 1
    err = (tmp_path / "err").read_text()
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "rank 1 was killed by SIGKILL" in errors[0]
    assert not alive(ranks)


def test_a_rank_that_hangs_is_named_and_nothing_is_left_behind(made, tmp_path):
    """With DataLoader workers, which share memory with their rank."""
    before = shared_memory()
    folder = write_folder(tmp_path / "photos", classes=10, train=30, val=3)
    for one in folder.glob("*/class-*"):  # the names that the teacher has learned
        one.rename(one.with_name(one.name.removeprefix("class-")))
    options = ("--data", folder, "--set", "data.workers=1")
    process, ranks = in_training(made, tmp_path / "run", tmp_path / "err", *options, TLEG_HANG_TIMEOUT="8")
    everybody = descendants(process)
    assert len(everybody) >= 4  # two ranks, and a worker or two of each
    os.kill(ranks[1], signal.SIGSTOP)
    began = time.monotonic()
    assert process.wait(100) == 1
    assert time.monotonic() - began < 45
    err = (tmp_path / "err").read_text()
    assert "error: rank 1 made no progress for 8 s" in err
    assert "Traceback" not in err
    assert wait_until(lambda: not alive(everybody), seconds=20), alive(everybody)
    assert shared_memory() <= before


def test_a_mistake_of_a_rank_is_not_tried_again(made, tmp_path):
    options = ("--max-restarts", "3", "--set", "aux.batch_size=2000")
    process = start(aux_command(made.teacher, tmp_path / "run", *TWO, *options), tmp_path / "err")
    assert process.wait(100) == 1
    err = (tmp_path / "err").read_text()
    assert err.count("1297 training images are fewer than one global batch of 4000") == 1
    assert "Traceback" not in err


def test_ranks_die_with_their_launcher_and_the_folder_is_free_at_once(made, whole, tmp_path):
    process, ranks = in_training(made, tmp_path / "run", tmp_path / "err")
    process.kill()
    process.wait()
    again = start(aux_command(made.teacher, tmp_path / "run", *TWO, epochs=30, batch_size=64), tmp_path / "err")
    assert wait_until(lambda: not alive(ranks), seconds=5)
    assert again.wait(200) == 0, (tmp_path / "err").read_text()
    assert same_weights(tmp_path / "run", whole)
    assert learngenes(whole)
