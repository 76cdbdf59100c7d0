"""A request to stop: between two steps, by any of three signals; whoever presses Ctrl-C twice doesn't want to wait."""

import os
import signal
import subprocess
import sys

import pytest

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tleg_cli.errors import Preempted
from tleg_cli.training.checkpoint import newest_checkpoint
from tleg_cli.training.train_teacher import train_teacher

TWICE = """
import os, signal, time
from tests.tiny import ALONE
from tleg_cli.training.signals import stop_requests

with stop_requests(ALONE) as ask:
    assert not ask(False).stop
    os.kill(os.getpid(), signal.SIGINT)
    assert ask(False).stop
    print("once", flush=True)
    time.sleep(0.6)  # sooner, it counts as the same Ctrl-C
    os.kill(os.getpid(), signal.{second})
    print("twice", flush=True)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP"])
def test_each_signal_ends_the_run_after_this_step_with_a_checkpoint(tmp_path, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    onlooker = Onlooker(lambda step: os.kill(os.getpid(), number) if step == 3 else None)
    with pytest.raises(Preempted, match=f"stopped at step 3 of {STEPS}"):
        train_teacher(tiny_config(), tmp_path, ALONE, onlooker)
    found, _ = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert (onlooker.steps, found.state["step"]) == ([1, 2, 3], 3)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("second", "code", "said"), [("SIGINT", 130, ["once"]), ("SIGTERM", 0, ["once", "twice"])], ids=str
)
def test_a_second_ctrl_c_leaves_at_once_and_a_second_warning_does_not(second, code, said):
    """SLURM may send SIGTERM after SIGINT while the checkpoint is being written."""
    done = subprocess.run(
        [sys.executable, "-c", TWICE.format(second=second)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout.split()) == (code, said), done.stderr
