"""NaN and Inf: seen before the step, written down, answered by on_nan; no weight is ever spoiled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import ALONE, NOT_ONE_PIXEL, STEPS, Onlooker, tiny_config
from tleg_cli.errors import ConfigError, TlegError
from tleg_cli.training import train_teacher as teacher_training
from tleg_cli.training.checkpoint import newest_checkpoint
from tleg_cli.training.health import is_bad
from tleg_cli.training.losses import label_loss
from tleg_cli.training.state import _refuse_bad_weights
from tleg_cli.training.train_teacher import train_teacher

Loss = Callable[..., torch.Tensor]


def poisoned(*steps: int, gradient_only: bool = False) -> Loss:
    """The loss of a teacher, spoiled in these steps (from 0; one call is one step)."""
    calls = iter(range(10_000))

    def loss(logits: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        value = label_loss(logits, inputs, targets)
        if next(calls) not in steps:
            return value
        return value + torch.sqrt(logits.sum() * 0) if gradient_only else value * float("nan")

    return loss


@pytest.fixture
def train(tmp_path, monkeypatch):
    """train(loss, setting, ...): a teacher with batch norm, whose statistics move in the forward pass."""

    def run(loss: Loss, *settings: str, out: str = "run", onlooker: Onlooker | None = None) -> Onlooker:
        monkeypatch.setattr(teacher_training, "label_loss", loss)
        look = onlooker or Onlooker()
        train_teacher(tiny_config("teacher.recipe.epochs=2", *settings), tmp_path / out, ALONE, look)
        return look

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "teacher.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def keep_checkpoints(run: Path, to: Path) -> Onlooker:
    """An Onlooker that copies every checkpoint: the run keeps only the newest."""

    def copy(step: int) -> None:
        for folder in (run / "checkpoints").glob("step-*"):
            shutil.copytree(folder, to / folder.name, dirs_exist_ok=True)

    return Onlooker(copy)


@pytest.mark.parametrize("gradient_only", [False, True], ids=["loss", "gradient"])
def test_stop_names_the_step_and_the_same_command_ends_in_the_clean_weights(train, tmp_path, gradient_only):
    train(label_loss, out="clean")
    with pytest.raises(TlegError, match=r"step 7: .*on_nan is stop.*last checkpoint is as it was"):
        train(poisoned(7, gradient_only=gradient_only))
    found, passed_over = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert (found.state["step"], passed_over) == (STEPS, [])
    train(label_loss)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "clean"))


def test_what_led_to_it_is_written_down(train, tmp_path):
    with pytest.raises(TlegError):
        train(poisoned(7))
    (file,) = (tmp_path / "run").glob("bad-step-*.json")
    facts = json.loads(file.read_text())
    assert (facts["step"], facts["epoch"], facts["on_nan"]) == (7, 1, "stop")
    assert facts["ranks"][0]["loss"] == "nan"
    assert len(facts["ranks"][0]["samples"]) == 256
    assert facts["gradient_norm"] == "nan"
    assert facts["parameters"]
    assert [line["step"] for line in facts["before"]] == list(range(8))
    assert all(isinstance(line["loss"], float) for line in facts["before"][:-1])
    assert facts["before"][-1]["loss"] == "nan"


def test_skip_leaves_out_the_step_and_nothing_else(train, tmp_path):
    look = keep_checkpoints(tmp_path / "run", tmp_path / "kept")
    settings = ("teacher.recipe.on_nan=skip:2", "teacher.recipe.checkpoint_every=1")
    look = train(poisoned(2), *settings, onlooker=look)
    assert look.steps == list(range(1, 2 * STEPS + 1))
    assert any("step 2" in line and "left out" in line for line in look.said)
    before, after = (tmp_path / "kept" / f"step-{step:08d}" for step in (2, 3))
    for part in ("model", "optimizer"):  # with the statistics of batch norm
        assert same(load_file(before / f"{part}.safetensors"), load_file(after / f"{part}.safetensors"))
    assert json.loads((after / "state.json").read_text())["skipped"] == 1
    assert look.records[0]["skipped_so_far"] == 1
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_skips_are_counted_over_the_whole_run(train, tmp_path):
    with pytest.raises(TlegError, match="step 8: .*on_nan is skip:2"):
        train(poisoned(1, 6, 8), "teacher.recipe.on_nan=skip:2")
    assert len(list((tmp_path / "run").glob("bad-step-*.json"))) == 3


def test_rollback_takes_the_weights_of_the_last_checkpoint_and_the_data_goes_on(train, tmp_path):
    look = keep_checkpoints(tmp_path / "run", tmp_path / "kept")
    look = train(poisoned(7), "teacher.recipe.on_nan=rollback", onlooker=look)
    assert look.steps == list(range(1, 2 * STEPS + 1))
    before, after = (tmp_path / "kept" / f"step-{step:08d}" for step in (STEPS, 8))
    for part in ("model", "optimizer"):
        assert same(load_file(before / f"{part}.safetensors"), load_file(after / f"{part}.safetensors"))
    assert json.loads((after / "state.json").read_text())["rollbacks"] == 1


def test_a_run_that_only_goes_bad_stops_after_three_rollbacks(train):
    with pytest.raises(TlegError, match="step 3: .*on_nan is rollback"):
        train(poisoned(*range(100)), "teacher.recipe.on_nan=rollback")


def test_with_fp16_an_overflowing_gradient_is_the_scalers_business_and_a_loss_is_not(train):
    half = ("teacher.recipe.precision=fp16", NOT_ONE_PIXEL)
    look = train(poisoned(2, gradient_only=True), *half, out="gradient")
    assert look.steps[-1] == 2 * STEPS
    with pytest.raises(TlegError, match="step 2"):
        train(poisoned(2), *half, out="loss")


def test_a_scale_that_cant_fall_any_further_makes_it_bad():
    good, bad = torch.tensor(1.0), torch.tensor(float("inf"))
    for scale, expected in ((65536.0, False), (1.0, True)):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(good)
        assert is_bad(good, bad, scaler, ALONE) is expected
    assert is_bad(good, bad, torch.amp.GradScaler("cpu", enabled=False), ALONE)
    assert not is_bad(good, good, torch.amp.GradScaler("cpu", enabled=False), ALONE)


def test_weights_that_are_not_finite_are_never_saved():
    with pytest.raises(TlegError, match=r"at step 9 1 weights of the ema are not finite \(b"):
        _refuse_bad_weights("ema", {"a": torch.ones(3), "b": torch.tensor([1.0, float("inf")])}, 9)
    _refuse_bad_weights("ema", {"a": torch.ones(3), "count": torch.tensor(2**40)}, 9)


@pytest.mark.parametrize("policy", ["ignore", "skip", "skip:0", "skip:-1", "skip:1.5", "rollback:2", "''"])
def test_policies_that_cant_be(policy):
    with pytest.raises(ConfigError, match=r"aux\.on_nan .*write stop, skip:N \(as in skip:10\) or rollback"):
        tiny_config(f"aux.on_nan={policy}")
