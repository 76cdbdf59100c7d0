"""`tleg evaluate RUN --checkpoint best|last`: what a run keeps gets the scores that the run recorded."""

import json
import shutil

import pytest

from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.config_file import with_settings
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants

DATA = ("--data", "digits", "--device", "cpu")


def score(tleg, run, *words):
    done = tleg("evaluate", run, *DATA, "--json", *words)
    assert done.code == 0, done.err
    return done.json(), done.err


@pytest.fixture(scope="module")
def runs(made, tmp_path_factory):
    """An aux net of four epochs with EMA whose rate ends so high that the last isn't the best, and its descendants."""
    root = tmp_path_factory.mktemp("runs")
    own = (
        "aux.epochs=4",
        "aux.lr=0.02",
        "aux.min_lr=0.02",
        "aux.ema_decay=0.5",
        "aux.depth=2-4",
        "descendant.epochs=1",
    )
    config = tiny_config(*own, "aux.precision=fp32", "descendant.precision=fp32", teacher=made.teacher)
    train_aux(config, root / "aux", ALONE, Onlooker())
    learngene = root / "aux" / "learngene.pt"
    train_descendants(config, learngene, [(2,), (3,)], root / "des", ALONE, Onlooker())
    only = with_settings(config, ["descendant.train=coefficients"])
    train_descendants(only, learngene, [(3,)], root / "coefficients", ALONE, Onlooker())
    return root


def test_the_last_checkpoint_scores_as_the_result(tleg, runs):
    for run, result in (("des/depth-02", "model.safetensors"), ("coefficients/depth-03", "model.safetensors")):
        last, _ = score(tleg, runs / run, "--checkpoint", "last")
        own, _ = score(tleg, runs / run / result)
        assert {**last, "file": ""} == {**own, "file": ""}
        assert last["file"].startswith(f"{runs / run}/checkpoints/step-")
    for words in (("--depth", "2,5"), ("--depth", "5", "--step", "scaled")):
        last, _ = score(tleg, runs / "aux", "--checkpoint", "last", "--weights", "raw", *words)
        own, _ = score(tleg, runs / "aux" / "learngene.pt", *words)
        assert {**last, "file": ""} == {**own, "file": ""}
    ema, note = score(tleg, runs / "aux", "--checkpoint", "last")
    own, _ = score(tleg, runs / "aux" / "learngene_ema.pt")
    assert {**ema, "file": ""} == {**own, "file": ""}
    assert "weights: ema, of raw and ema" in note


def test_the_teacher_and_a_complete_family(tleg, made, runs):
    last, _ = score(tleg, made.teacher.parent, "--checkpoint", "last")
    own, _ = score(tleg, made.teacher)
    assert {**last, "file": ""} == {**own, "file": ""}
    family, _ = score(tleg, runs / "des", "--checkpoint", "best")
    assert [one["depth"] for one in family["depths"]] == ["2", "3"]


def test_the_best_is_the_one_that_the_run_recorded_and_needs_no_result(tleg, runs, tmp_path):
    run = tmp_path / "stopped"
    shutil.copytree(runs / "aux", run)
    for name in ("learngene.pt", "learngene_ema.pt", "summary.json"):
        (run / name).unlink()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max((one for one in lines if "top1" in one), key=lambda one: one["top1"])
    assert best["step"] < lines[-1]["step"], "this test needs a best that isn't the last"
    found, note = score(tleg, run, "--checkpoint", "best", "--weights", "raw")
    assert found["top1"] == pytest.approx(best["top1"], abs=0.2)
    assert found["file"].endswith(f"step-{best['step']:08d}")
    assert f"step {best['step']}, the best of the run" in note
    (run / "checkpoints" / f"step-{best['step']:08d}" / "model.safetensors").write_bytes(b"cut")
    done = tleg("evaluate", run, *DATA, "--checkpoint", "best")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"doesn't keep step {best['step']}, its best" in done.err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("file", "--checkpoint", "last"), "is not a run folder"),
        (("run", "--checkpoint", "last", "--weights", "ema"), "has no weights 'ema'; it has raw"),
        (("run", "--checkpoint", "last", "--model", "resnet18"), "--model and --option are for weights of others"),
        (("empty", "--checkpoint", "best"), "has no checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_there_is_not(tleg, made, tmp_path, words, answer):
    place = {"file": made.learngene, "run": made.learngene.parent, "empty": tmp_path}[words[0]]
    done = tleg("evaluate", place, *DATA, *words[1:])
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert answer in done.err
