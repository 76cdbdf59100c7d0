"""Two real processes over gloo: the same weights as one, one screen, and an error that is told once."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.cli.conftest import in_its_own_process
from tests.data.conftest import prepare
from tests.tiny import as_options

COMMON = ("--preset", "digits", "--device", "cpu", "--data", "digits")
PLAIN = ("augmentation.crop_scale=null", "aux.epochs=2", "aux.smoothing=0.1")


ANY_DEPTH = ("aux.depth=2-5", "basis=hat:3", "expansion.positions=unit", "expansion.step=scaled")


def aux(made, out, *options, batch_size=128, settings=()):
    settings = as_options(*PLAIN, f"aux.batch_size={batch_size}", *settings)
    return ("train-aux", *COMMON, "--teacher", made.teacher, *settings, "--out", out, *options)


def weights(out):
    content = torch.load(out / "learngene.pt", weights_only=True)
    found = {}

    def walk(value, name):
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{name}/{key}")

    walk(content, "")
    assert found
    return found


@pytest.mark.parametrize("settings", [(), ANY_DEPTH], ids=["one depth", "any depth"])
def test_one_process_and_two_end_in_the_same_weights(made, tmp_path, settings):
    one = in_its_own_process(*aux(made, tmp_path / "one", settings=settings))
    two = in_its_own_process(*aux(made, tmp_path / "two", "--gpus", 2, batch_size=64, settings=settings))
    assert (one.code, two.code) == (0, 0), one.err + two.err
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5
    assert two.out.count("top-1") == one.out.count("top-1") == 1  # rank 0 alone reports
    assert two.err.count("epoch   1 ") == 1


@pytest.mark.slow
def test_the_coefficients_of_one_process_and_of_two_are_the_same(made, tmp_path):
    from safetensors.torch import load_file

    for name, batch, options in (("one", 128, ()), ("two", 64, ("--gpus", 2))):
        settings = as_options(*PLAIN, "descendant.epochs=1", f"descendant.batch_size={batch}", "descendant.lr=1e-2")
        words = ("--learngene", made.learngene, "--depth", 5, "--train", "coefficients", "--out", tmp_path / name)
        done = in_its_own_process("train-des", *COMMON, *settings, *words, *options)
        assert done.code == 0, done.err
    ours, theirs = (load_file(tmp_path / name / "depth-05" / "model.safetensors") for name in ("one", "two"))
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5


def test_accumulation_equals_one_big_batch(made, tmp_path):
    big = in_its_own_process(*aux(made, tmp_path / "big", batch_size=256))
    settings = as_options(*PLAIN, "aux.batch_size=64", "aux.accumulation=4")
    small = in_its_own_process("train-aux", *COMMON, "--teacher", made.teacher, *settings, "--out", tmp_path / "small")
    assert (big.code, small.code) == (0, 0), big.err + small.err
    ours, theirs = weights(tmp_path / "big"), weights(tmp_path / "small")
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "betons"])
def test_one_two_and_four_processes_score_every_image_once(made, tmp_path, data):
    """500 images: 4 processes with batches of 48 end in parts of different sizes."""
    path = str(prepare("digits", tmp_path / "betons")) if data == "betons" else data
    options = ("evaluate", made.learngene, "--data", path, "--device", "cpu", "--batch-size", 48, "--json")
    scores = []
    for processes in (1, 2, 4):
        done = in_its_own_process(*options, "--gpus", processes, OMP_NUM_THREADS="1")
        assert done.code == 0, done.err
        scores.append(done.json())
    assert [score["images"] for score in scores] == [500] * 3
    for name in ("top1", "top5"):
        assert len({score[name] for score in scores}) == 1  # to the image
    assert max(score["loss"] for score in scores) - min(score["loss"] for score in scores) < 1e-6


def test_an_error_in_all_ranks_is_one_line(made, tmp_path):
    done = in_its_own_process(*aux(made, tmp_path, "--gpus", 2, batch_size=2000))
    assert done.code == 1
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: 1297 training images are fewer than one global batch of 4000")


def test_two_gpus_without_cuda_are_refused_with_the_way_out(made, tmp_path):
    if torch.cuda.is_available():
        return
    done = in_its_own_process("train-aux", "--preset", "digits", "--gpus", 2, "--data", "digits", "--out", tmp_path)
    assert done.code == 1
    assert done.err == "error: no CUDA GPU is available here; add --device cpu to train on the processor\n"


def interrupted(arguments, out, stop_with):
    """Starts the command, sends it a signal in mid-training, returns its exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tleg_cli", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, stop_with)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_a_signal_to_torchrun_ends_in_75_and_the_same_command_carries_on(made, tmp_path):
    arguments = aux(made, tmp_path / "stopped", "--gpus", 2, "--set", "aux.epochs=15", batch_size=64)
    code, err = interrupted(arguments, tmp_path / "stopped", signal.SIGTERM)
    assert code == 75, err
    assert "the same command carries on from there" in err
    assert "Traceback" not in err
    again = in_its_own_process(*arguments)
    assert again.code == 0, again.err
    assert "resuming at step" in again.err
    whole = in_its_own_process(*aux(made, tmp_path / "whole", "--gpus", 2, "--set", "aux.epochs=15", batch_size=64))
    assert whole.code == 0
    ours, theirs = weights(tmp_path / "stopped"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
