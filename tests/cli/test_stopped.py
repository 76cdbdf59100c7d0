"""Stop signals to a process group with real loader workers, at any moment: 75, and the same command ends in the result."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.data.conftest import write_folder
from tests.processes import aux_command, descendants, saved, wait_until

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images with the class names of the digits."""
    root = write_folder(tmp_path_factory.mktemp("photos") / "data", classes=10, train=10, val=2)
    for folder in root.glob("*/class-*"):
        folder.rename(folder.with_name(folder.name.removeprefix("class-")))
    return root


def group(arguments, err, *prefix):
    """The command as the leader of a process group, with Ctrl-C as a terminal's foreground job has it."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tleg_cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=err.open("a"),
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(INT, signal.default_int_handler),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def command(made, photos, out, *options):
    settings = ("--set", "data.workers=2", "--data", str(photos))
    return aux_command(made.teacher, out, *settings, *options, epochs=40, batch_size=16)


@pytest.mark.parametrize("numbers", [(TERM, TERM), (HUP,)], ids=["SIGTERM-twice", "SIGHUP"])
def test_a_signal_to_the_group_is_75_with_a_checkpoint_though_workers_get_it_too(made, photos, tmp_path, numbers):
    """`timeout` sends SIGTERM to the process and again to its group; a closed terminal sends SIGHUP."""
    out, err = tmp_path / "run", tmp_path / "err"
    process = group(command(made, photos, out), err)
    assert wait_until(lambda: saved(out), process), err.read_text()
    everybody = descendants(process)
    assert everybody
    for number in numbers:
        os.killpg(process.pid, number)
    assert process.wait(60) == 75, err.read_text()
    assert "the same command carries on from there" in err.read_text()
    assert "Traceback" not in err.read_text()
    assert wait_until(lambda: not [pid for pid in everybody if os.path.exists(f"/proc/{pid}/cwd")], seconds=10)


@pytest.mark.slow
@pytest.mark.parametrize("number", [TERM, INT, HUP], ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_while_it_starts_is_75_and_the_same_command_starts(made, photos, tmp_path, number, ranks):
    for seconds in (1, 2, 4):
        out, err = tmp_path / f"run-{seconds}", tmp_path / f"err-{seconds}"
        process = group(command(made, photos, out, "--gpus", str(ranks)), err)
        time.sleep(seconds)
        os.killpg(process.pid, number)
        assert process.wait(60) == 75, err.read_text()
        assert "the same command" in err.read_text() or "run the same command again" in err.read_text()
        assert "Traceback" not in err.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [TERM, INT], ids=lambda number: signal.Signals(number).name)
def test_two_ranks_and_a_signal_that_comes_twice(made, photos, tmp_path, number):
    out, err = tmp_path / "run", tmp_path / "err"
    process = group(command(made, photos, out, "--gpus", "2"), err)
    assert wait_until(lambda: saved(out), process), err.read_text()
    everybody = descendants(process)
    os.killpg(process.pid, number)
    os.killpg(process.pid, number)
    assert process.wait(100) == 75, err.read_text()
    assert "Traceback" not in err.read_text()
    assert wait_until(lambda: not [pid for pid in everybody if os.path.exists(f"/proc/{pid}/cwd")], seconds=10)


@pytest.mark.slow
def test_nohup_is_respected(made, photos, tmp_path):
    out, err = tmp_path / "run", tmp_path / "err"
    process = group(command(made, photos, out), err, "nohup")
    assert wait_until(lambda: saved(out), process), err.read_text()
    os.killpg(process.pid, HUP)
    before = saved(out)[-1]
    assert wait_until(lambda: saved(out)[-1] != before, process), err.read_text()
    os.killpg(process.pid, TERM)
    assert process.wait(60) == 75


@pytest.mark.slow
@pytest.mark.parametrize("only_launcher", [True, False])
def test_a_suspended_job_goes_on_when_it_wakes(made, tmp_path, only_launcher):
    """Ctrl-Z stops the launcher's group; a paused container or machine stops all."""
    out, err = tmp_path / "run", tmp_path / "err"
    os.environ["TLEG_HANG_TIMEOUT"] = "4"
    try:
        process = group(aux_command(made.teacher, out, "--gpus", "2", epochs=30, batch_size=64), err)
    finally:
        del os.environ["TLEG_HANG_TIMEOUT"]
    assert wait_until(lambda: saved(out), process), err.read_text()
    everybody = [process.pid] if only_launcher else [*descendants(process), process.pid]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(9)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    assert process.wait(200) == 0, err.read_text()
    assert "no progress" not in err.read_text()
