"""kill -9 at random moments, in training and while a checkpoint is written: the same command ends in the same weights.

One run is killed again and again. The moments are drawn from a fixed seed, TLEG_KILL_SEED changes them.
"""

import contextlib
import os
import random
import signal
import time

import pytest

from tests.processes import alive, aux_command, children, same_weights, saved, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SEED = int(os.environ.get("TLEG_KILL_SEED", "0"))


def half_saved(out):
    """Checkpoints that are being written, or were when a run was killed; a new one has another number."""
    found = set()
    for path in (out / "checkpoints").glob(".step-*.tmp"):
        with contextlib.suppress(OSError):
            found.add((path.name, path.stat().st_ino))
    return found


def kill_at_random(arguments, out, err, draw, *, ranks):
    """Starts the command, and after its next checkpoint kills it or one of its ranks: at once, or while it saves.

    Returns whether a checkpoint was left half written.
    """
    known, halves, in_save = saved(out)[-1:], half_saved(out), draw.random() < 0.5
    process = start(arguments, err)
    assert wait_until(lambda: saved(out)[-1:] != known, process), err.read_text()
    if in_save:
        assert wait_until(lambda: half_saved(out) - halves, process), err.read_text()
        time.sleep(draw.uniform(0, 0.003))
    else:
        time.sleep(draw.uniform(0, 0.15))
    everybody = [process.pid, *children(process)[:ranks]]
    os.kill(draw.choice(everybody), signal.SIGKILL)
    process.wait(120)
    assert wait_until(lambda: not alive(everybody), seconds=60)
    return bool(half_saved(out) - halves)


def undisturbed(arguments, err):
    process = start(arguments, err)
    assert process.wait(400) == 0, err.read_text()


ANY_DEPTH = ("aux.depth=2-5", "expansion.positions=ends", "expansion.step=1", "aux.draw=deepest")


@pytest.mark.parametrize(
    ("ranks", "kills", "epochs", "settings"),
    [(0, 20, 70, ()), (2, 5, 30, ()), (0, 5, 25, ANY_DEPTH), (2, 3, 20, ANY_DEPTH)],
    ids=["1-process", "2-processes", "any-depth-1-process", "any-depth-2-processes"],
)
def test_killed_at_random_moments_a_run_ends_in_the_same_weights(made, tmp_path, ranks, kills, epochs, settings):
    options = ("--gpus", ranks, "--checkpoint-every", 3) if ranks else ("--checkpoint-every", 3)
    size = {"epochs": epochs, "batch_size": 256 // (ranks or 1), "settings": settings}
    draw = random.Random(SEED)
    err, out = tmp_path / "err", tmp_path / "killed"
    command = aux_command(made.teacher, out, *options, **size)
    halves = sum(kill_at_random(command, out, err, draw, ranks=ranks) for _ in range(kills))
    undisturbed(command, err)
    assert err.read_text().count("resuming at step") == kills  # every start but the first
    assert halves > 0 or kills < 5  # some saves really were cut in two
    assert "Traceback" not in err.read_text()
    undisturbed(aux_command(made.teacher, tmp_path / "whole", *options, **size), tmp_path / "err-whole")
    assert same_weights(out, tmp_path / "whole")
