"""A finished run that lost something: what its checkpoint holds is restored and reported, anything else is one line."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tests.training.test_resume import same
from tleg_cli.errors import ConfigError, TlegError
from tleg_cli.inspect.verify_run import broken, verify_run
from tleg_cli.training.train_aux import train_aux

EMA = "aux.ema_decay=0.9"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, teacher) -> Path:
    out = tmp_path_factory.mktemp("finished") / "aux"
    train_aux(tiny_config("aux.epochs=2", "aux.log_every=2", EMA, teacher=teacher), out, ALONE, Onlooker())
    return out


@pytest.fixture
def run(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path / "aux")
    return tmp_path / "aux"


def again(run: Path, teacher: Path, *settings: str, allow: tuple[str, ...] = ()) -> Onlooker:
    look = Onlooker()
    train_aux(tiny_config("aux.epochs=2", "aux.log_every=2", EMA, *settings, teacher=teacher), run, ALONE, look, allow)
    return look


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 7)


DAMAGE = {
    "deleted result": (lambda run: (run / "learngene.pt").unlink(), "learngene.pt is missing"),
    "deleted average": (lambda run: (run / "learngene_ema.pt").unlink(), "learngene_ema.pt is missing"),
    "truncated result": (lambda run: cut(run / "learngene.pt"), "learngene.pt has changed"),
    "torn summary": (lambda run: cut(run / "summary.json"), "summary.json can't be read"),
    "summary of another type": (
        lambda run: (run / "summary.json").write_text('{"kind": "aux", "top1": "high"}'),
        "top1 is 'high', but it should be a list of numbers",
    ),
    "list as summary": (lambda run: (run / "summary.json").write_text("[]"), "does not hold a JSON object"),
    "torn metrics": (lambda run: cut(run / "metrics.jsonl"), "of .*metrics.jsonl is damaged"),
    "torn run.json": (lambda run: cut(run / "run.json"), "run.json can't be read.*newest checkpoint"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_repaired_from_the_checkpoint_and_reported(run, finished, teacher, kind):
    damage, reported = DAMAGE[kind]
    damage(run)
    look = again(run, teacher)
    assert look.steps == []
    assert any(re.search(reported, line) for line in look.said), look.said
    assert same(run / "learngene.pt", finished / "learngene.pt")
    assert same(run / "learngene_ema.pt", finished / "learngene_ema.pt")
    assert (run / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()
    if kind != "torn run.json":
        assert not broken(verify_run(run))
    assert (run / "learngene.pt.changed").exists() == (kind == "truncated result")


def test_without_a_checkpoint_it_says_what_is_missing_and_touches_nothing(run, teacher):
    shutil.rmtree(run / "checkpoints")
    assert "finished already" in again(run, teacher).said[-1]
    cut(run / "learngene.pt")
    damaged = (run / "learngene.pt").read_bytes()
    with pytest.raises(
        TlegError, match=r"learngene\.pt has changed.*no complete checkpoint.*restore the missing file, or delete"
    ):
        again(run, teacher)
    assert (run / "learngene.pt").read_bytes() == damaged


def test_more_epochs_train_a_finished_run_on_and_the_key_in_the_error_is_the_one_that_works(run, teacher):
    with pytest.raises(ConfigError, match=r"recipe\.epochs: 2 -> 3.*--allow-changed recipe\.epochs"):
        again(run, teacher, "aux.epochs=3")
    look = again(run, teacher, "aux.epochs=3", allow=("recipe.epochs",))
    assert look.steps == list(range(2 * STEPS + 1, 3 * STEPS + 1))
    assert "now has more epochs; training goes on" in look.said[0]
    assert json.loads((run / "summary.json").read_text())["plan"]["epochs"] == 3


@pytest.mark.parametrize(("setting", "key"), [("aux.epochs=1", "aux.epochs"), ("aux.lr=0.5", "recipe.lr")])
def test_an_allowed_change_that_has_no_effect_any_more_is_reported(run, finished, teacher, setting, key):
    look = again(run, teacher, setting, allow=(key,))
    assert look.steps == []
    assert "has no effect" in look.said[-1]
    assert (run / "run.json").read_text() == (finished / "run.json").read_text()


def test_step_records_are_written_at_the_interval_and_survive_a_resume(finished):
    records = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record.get("kind") == "step"]
    assert [record["step"] for record in steps] == [2, 4, 6, 8, 10]
    assert [record["epoch"] for record in records if "kind" not in record] == [1, 2]
    assert all(torch.isfinite(torch.tensor([record["loss"], record["images_per_second"]])).all() for record in steps)
