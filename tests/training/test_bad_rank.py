"""A number that goes bad on one of two ranks: both see it before the step, and both do the same about it."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import STEPS

SCRIPT = """
import os, sys
import torch
from pathlib import Path
from tests.tiny import Onlooker, tiny_config
from tleg_cli.errors import TlegError
from tleg_cli.training import train_teacher as teacher_training
from tleg_cli.training.distributed import join_world
from tleg_cli.training.losses import label_loss

calls = iter(range(1000))

def on_rank_1_only(logits, inputs, targets):
    bad = next(calls) == 2 and os.environ["RANK"] == "1"
    return label_loss(logits, inputs, targets) * (float("nan") if bad else 1.0)

teacher_training.label_loss = on_rank_1_only
look = Onlooker()
config = tiny_config("teacher.recipe.batch_size=128", "teacher.recipe.on_nan=" + sys.argv[2])
with join_world("cpu") as world:
    try:
        teacher_training.train_teacher(config, Path(sys.argv[1]), world, look)
    except TlegError as error:
        print(error)
    print(look.steps)
"""


def two_ranks(out, on_nan):
    """What both say."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    meeting["LOCAL_WORLD_SIZE"] = "2"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(out), on_nan],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [rank.communicate(timeout=200) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    return [out for out, _ in said]


@pytest.mark.slow
def test_both_stop_before_the_step(tmp_path):
    for said in two_ranks(tmp_path, "stop"):
        assert "step 2: loss" in said
        assert "not finite on some rank, and on_nan is stop" in said
        assert "[1, 2]" in said
    assert len(list(tmp_path.glob("bad-step-00000002.json"))) == 1


@pytest.mark.slow
def test_both_leave_the_step_out(tmp_path):
    for said in two_ranks(tmp_path, "skip:1"):
        assert str(list(range(1, STEPS + 1))) in said
    weights = load_file(tmp_path / "teacher.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())
