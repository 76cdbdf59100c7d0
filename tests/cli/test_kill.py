"""kill -9 at random moments, in training and while a checkpoint is written: the same command ends in the same weights.

One run is killed again and again. The moments are drawn from a fixed seed, TLEG_KILL_SEED changes them.
"""

import os
import random
import signal
import time

import pytest

from tests.processes import alive, aux_command, children, same_weights, saved, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SEED = int(os.environ.get("TLEG_KILL_SEED", "0"))


def being_saved(out):
    return list((out / "checkpoints").glob(".step-*.tmp"))


def kill_at_random(arguments, out, err, draw, *, ranks):
    """Starts the command and kills it, or one of its ranks, after its first step or in its next save.

    Returns the process if it is still there, or None; and whether a checkpoint was left half written.
    """
    known = saved(out)
    process = start(arguments, err)
    in_save = draw.random() < 0.5
    assert wait_until(lambda: saved(out)[-1:] != known[-1:] or being_saved(out), process), err.read_text()
    if in_save:
        wait_until(lambda: being_saved(out), process, seconds=5)
        time.sleep(draw.uniform(0, 0.003))
    else:
        time.sleep(draw.uniform(0, 0.5))
    victims = [process.pid, *children(process)[:ranks]]
    for victim in [draw.choice(victims)]:
        os.kill(victim, signal.SIGKILL)
    process.wait(120)
    assert wait_until(lambda: not alive(victims), seconds=60)
    return bool(being_saved(out))


def undisturbed(arguments, err):
    process = start(arguments, err)
    assert process.wait(400) == 0, err.read_text()


@pytest.mark.parametrize(("ranks", "kills", "epochs"), [(0, 25, 300), (2, 8, 120)], ids=["1-process", "2-processes"])
def test_killed_at_random_moments_a_run_ends_in_the_same_weights(made, tmp_path, ranks, kills, epochs):
    options = ("--gpus", ranks, "--checkpoint-every", 3) if ranks else ("--checkpoint-every", 3)
    size = {"epochs": epochs, "batch_size": 512 // (ranks or 1)}
    draw = random.Random(SEED)
    err, out = tmp_path / "err", tmp_path / "killed"
    command = aux_command(made.teacher, out, *options, **size)
    halves = sum(kill_at_random(command, out, err, draw, ranks=ranks) for _ in range(kills))
    resumed = err.read_text().count("resuming at step")
    undisturbed(command, err)
    assert resumed >= kills - 2  # the first one may find nothing to resume
    assert halves > 0  # some saves really were cut in two
    assert "Traceback" not in err.read_text()
    undisturbed(aux_command(made.teacher, tmp_path / "whole", *options, **size), tmp_path / "err-whole")
    assert same_weights(out, tmp_path / "whole")
