"""A run folder belongs to one run: another config, or another process, is refused."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.config_file import load_config
from tleg_cli.errors import ConfigError, TlegError
from tleg_cli.training.optim import Budget
from tleg_cli.training.run import open_run
from tleg_cli.training.train_aux import train_aux


def begin(path: Path, identity: dict[str, Any], *allowed: str, seed: int = 0) -> None:
    """Begins a run and lets go of it."""
    with open_run(path, identity, tiny_config(seed=seed), ALONE, Onlooker(), allowed) as run:
        run.begin(Budget(256, 256, 1, 1, 0.1))


def test_another_config_is_refused_with_every_difference(tmp_path):
    begin(tmp_path, {"recipe": {"lr": 0.1, "epochs": 3}, "seed": 0})
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"recipe\.epochs: 3 -> 5, recipe\.lr: 0\.1 -> 0\.2"):
        begin(tmp_path, {"recipe": {"lr": 0.2, "epochs": 5}, "seed": 0})
    begin(tmp_path, {"recipe": {"lr": 0.1, "epochs": 5}, "seed": 0}, "epochs")


def test_what_was_never_begun_may_be_changed(tmp_path):
    """A start that was refused, or killed before its first checkpoint: there is nothing to lose."""
    begin(tmp_path, {"seed": 0})
    begin(tmp_path, {"seed": 1}, seed=1)
    assert load_config(str(tmp_path / "config.yaml")).seed == 1


def test_the_effective_values_are_there_before_the_first_step(tmp_path, teacher):
    def read(step: int) -> None:
        plans.append(json.loads((tmp_path / "plan.json").read_text()))

    plans: list[dict[str, float]] = []
    train_aux(tiny_config("aux.lr=0.1", "aux.lr_batch=512", teacher=teacher), tmp_path, ALONE, Onlooker(read))
    assert plans[0] == {
        "images_per_epoch": 1280, "global_batch": 256, "steps_per_epoch": 5, "epochs": 3, "lr": 0.05, "steps": 15
    }  # fmt: skip


def test_allowed_epochs_make_a_run_longer(tmp_path, teacher):
    from tests.training.test_resume import stop_at
    from tleg_cli.errors import Preempted

    with pytest.raises(Preempted):
        train_aux(tiny_config("aux.epochs=2", teacher=teacher), tmp_path, ALONE, stop_at(7))
    longer = tiny_config("aux.epochs=3", teacher=teacher)
    with pytest.raises(ConfigError, match=r"recipe\.epochs: 2 -> 3"):
        train_aux(longer, tmp_path, ALONE, Onlooker())
    onlooker = Onlooker()
    train_aux(longer, tmp_path, ALONE, onlooker, ["epochs"])
    assert onlooker.steps[0] == 8
    assert onlooker.steps[-1] == 15


HOLD = """
import sys, time
from pathlib import Path
from tests.training.test_run_folder import hold
hold(Path(sys.argv[1]))
"""


def hold(path: Path) -> None:
    with open_run(path, {}, tiny_config(), ALONE, Onlooker()) as run:
        run.begin(Budget(256, 256, 1, 1, 0.1))
        print("locked", flush=True)
        time.sleep(60)


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(TlegError, match="another run is writing"):
            begin(tmp_path, {})
    finally:
        holder.kill()
        holder.wait()
    begin(tmp_path, {})  # the lock died with its owner


def test_an_unwritable_place_is_one_line():
    with pytest.raises(TlegError, match="can't write in /proc/nowhere"):
        begin(Path("/proc/nowhere"), {})
