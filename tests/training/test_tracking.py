"""Trackers get what metrics.jsonl gets, continue with a resumed training, and never end one."""

import json
import sys

import pytest

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tests.training.test_resume import stop_at
from tleg_cli.errors import ConfigError
from tleg_cli.training.tracking import numbers_of
from tleg_cli.training.train_aux import train_aux

TRACKED = ("aux.epochs=2", "aux.log_every=2", "aux.depth=2-4", "trackers=[tensorboard]")


def train(out, teacher, *settings, observer=None):
    watch = observer or Onlooker()
    train_aux(tiny_config(*settings, teacher=teacher), out, ALONE, watch)
    return watch


def scalars(folder):
    """What TensorBoard itself reads: name -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def recorded(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_has_the_records_also_of_a_training_that_was_stopped(tmp_path, teacher):
    with pytest.raises(Exception, match="stopped at step"):
        train(tmp_path / "run", teacher, *TRACKED, observer=stop_at(STEPS + 2))
    train(tmp_path / "run", teacher, *TRACKED)
    found, records = scalars(tmp_path / "run" / "tensorboard"), recorded(tmp_path / "run")
    assert [step for step, _ in found["loss"]] == sorted(record["step"] for record in records)
    assert dict(found["top1"]) == pytest.approx(
        {record["step"]: record["top1"] for record in records if "top1" in record}
    )
    last = records[-1]["top1_at"]
    assert {name.removeprefix("top1/depth ") for name in found if name.startswith("top1/depth ")} == set(last)
    assert found["top1/depth 4"][-1][1] == pytest.approx(last["4"])


def test_weights_and_biases_offline(tmp_path, teacher, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    watch = train(tmp_path / "run", teacher, "aux.epochs=1", "trackers=[wandb]")
    assert not [line for line in watch.said if "tracker" in line]
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))) == 1


def test_a_tracker_that_fails_is_left_out_and_the_weights_are_the_same(tmp_path, teacher, publish):
    publish(
        "from tleg_cli.api import hookimpl\n"
        "class Breaks:\n"
        "    def log(self, step, values):\n"
        "        raise OSError('the server is gone')\n"
        "    def close(self): ...\n"
        "@hookimpl\n"
        "def tleg_trackers():\n"
        "    return [('mine', lambda: lambda folder, config, step: Breaks())]\n"
    )
    watch = train(tmp_path / "run", teacher, "aux.epochs=2", "trackers=[mine]")
    assert [line for line in watch.said if "mine" in line] == [
        "warning: tracker mine failed (OSError: the server is gone); the training goes on without it"
    ]
    plain = train(tmp_path / "plain", teacher, "aux.epochs=2")
    assert watch.losses == plain.losses


def test_an_unknown_one_and_a_missing_package_are_refused_before_anything_is_written(tmp_path, teacher, monkeypatch):
    with pytest.raises(ConfigError, match="tracker 'tensorbord' is unknown. Did you mean 'tensorboard'"):
        train(tmp_path / "run", teacher, "trackers=[tensorbord]")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"needs the package wandb: pip install 'tleg\[track\]'"):
        train(tmp_path / "run", teacher, "trackers=[wandb]")
    assert not (tmp_path / "run").exists()


def test_numbers_only():
    record = {
        "kind": "step",
        "step": 3,
        "loss": 0.5,
        "top1_at": {"2": 90.0},
        "skipped_so_far": 1,
        "val_loss": float("nan"),
    }
    assert numbers_of(record) == {"loss": 0.5, "top1/depth 2": 90.0, "skipped_so_far": 1.0}
