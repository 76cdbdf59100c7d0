"""Interrupted anywhere and run again, training ends in the very same weights."""

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tleg_cli.data.open import open_eval_loader
from tleg_cli.errors import Preempted, TlegError
from tleg_cli.learngene.file import read_learngene
from tleg_cli.training import job
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants

EVERYTHING = (  # all that draws random numbers
    "augmentation={crop_scale: [0.5, 1.0], flip: 0.5, auto_augment: rand-m9-mstd0.5-inc1, erase: 0.25, mixup: 0.8, cutmix: 1.0}",
    "aux.drop_path=0.1",
    "aux.drop_rate=0.1",
    "aux.ema_decay=0.9",
    "aux.clip_grad=1.0",
)


def tensors(file: Path) -> dict[str, torch.Tensor]:
    gene = read_learngene(file)
    return {**gene.theta, **{f"shared/{name}": value for name, value in gene.shared.items()}}


def same(one: Path, other: Path) -> bool:
    ours, theirs = tensors(one), tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def stop_at(*steps: int) -> Onlooker:
    return Onlooker(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step in steps else None)


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("digits", ()),
        ("betons", ()),
        ("digits", EVERYTHING),
        ("betons", EVERYTHING),
        ("digits", (*EVERYTHING, "aux.precision=fp16")),
    ],
    ids=["plain-digits", "plain-betons", "everything-digits", "everything-betons", "fp16-digits"],
)
def test_stopped_in_and_between_epochs_the_weights_are_bitwise_the_same(
    tmp_path, teacher, digits_betons, source, settings
):
    data = "digits" if source == "digits" else str(digits_betons)
    config = tiny_config(*settings, data=data, teacher=teacher)
    whole = Onlooker()
    train_aux(config, tmp_path / "whole", ALONE, whole)

    seen = []
    for stop in (2, STEPS, 2 * STEPS + 3):
        onlooker = stop_at(stop)
        with pytest.raises(Preempted, match=f"stopped at step {stop} of {3 * STEPS}") as caught:
            train_aux(config, tmp_path / "stopped", ALONE, onlooker)
        assert caught.value.exit_code == 75
        seen += onlooker.steps
    last = Onlooker()
    train_aux(config, tmp_path / "stopped", ALONE, last)
    seen += last.steps

    assert seen == whole.steps == list(range(1, 3 * STEPS + 1))  # nothing lost, nothing repeated
    assert f"resuming at step {2 * STEPS + 3} of {3 * STEPS}" in last.said
    assert same(tmp_path / "whole" / "learngene.pt", tmp_path / "stopped" / "learngene.pt")
    if settings:
        assert same(tmp_path / "whole" / "learngene_ema.pt", tmp_path / "stopped" / "learngene_ema.pt")
    scores = [
        [(line["step"], line["loss"], line["top1"]) for line in map(json.loads, (folder / "metrics.jsonl").open())]
        for folder in (tmp_path / "whole", tmp_path / "stopped")
    ]
    assert scores[0] == scores[1]


def test_stopped_while_scoring_the_scores_are_left_to_the_next_start(tmp_path, teacher, monkeypatch):
    """Scoring ImageNet takes longer than some machines wait before they kill."""
    config = tiny_config("aux.batch_size=64", "aux.ema_decay=0.9", teacher=teacher)
    train_aux(config, tmp_path / "whole", ALONE, Onlooker())
    scorings, read = itertools.count(), []

    def opened(*arguments: Any, **options: Any) -> Any:
        loader = open_eval_loader(*arguments, **options)
        epoch = loader.epoch

        def watched(number: int, start: int = 0) -> Any:
            scoring = next(scorings)
            for place, batch in enumerate(epoch(number, start)):
                read.append((scoring, place))
                if (scoring, place) == (
                    3,
                    1,
                ):  # the network after epoch 2; the teacher is first, with EMA there are two of each
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        monkeypatch.setattr(loader, "epoch", watched)
        return loader

    monkeypatch.setattr(job, "open_eval_loader", opened)
    with pytest.raises(Preempted, match="stopped at step 40 of 60"):
        train_aux(config, tmp_path / "stopped", ALONE, Onlooker())
    assert read[-1] == (3, 1)  # at once, not after all 8 batches
    assert len((tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()) == 1
    monkeypatch.setattr(job, "open_eval_loader", open_eval_loader)
    again = Onlooker()
    train_aux(config, tmp_path / "stopped", ALONE, again)
    assert again.steps == list(range(41, 61))
    assert [record["epoch"] for record in again.records] == [2, 3]
    assert same(tmp_path / "whole" / "learngene_ema.pt", tmp_path / "stopped" / "learngene_ema.pt")


def test_a_damaged_checkpoint_is_said_and_passed_over_to_the_same_weights(tmp_path, teacher):
    config = tiny_config(teacher=teacher)
    train_aux(config, tmp_path / "whole", ALONE, Onlooker())
    with pytest.raises(Preempted):
        train_aux(config, tmp_path / "damaged", ALONE, stop_at(STEPS + 2))
    newest = tmp_path / "damaged" / "checkpoints" / f"step-{STEPS + 2:08d}"
    (newest / "model.safetensors").write_bytes(b"spoilt")
    again = Onlooker()
    train_aux(config, tmp_path / "damaged", ALONE, again)
    assert f"{newest} is damaged (model.safetensors has changed); using the one before it" in again.said
    assert again.steps == list(range(STEPS + 1, 3 * STEPS + 1))
    assert same(tmp_path / "whole" / "learngene.pt", tmp_path / "damaged" / "learngene.pt")


def test_with_damaged_checkpoints_only_nothing_starts_over_silently(tmp_path, teacher):
    with pytest.raises(Preempted):
        train_aux(tiny_config(teacher=teacher), tmp_path, ALONE, stop_at(STEPS + 2))
    for manifest in tmp_path.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    with pytest.raises(TlegError, match=r"all 2 checkpoints are damaged .*manifest.json is missing.*to start over"):
        train_aux(tiny_config(teacher=teacher), tmp_path, ALONE, Onlooker())
    assert len(list(tmp_path.glob("checkpoints/step-*"))) == 2


def test_a_finished_run_is_not_run_again(tmp_path, teacher):
    config = tiny_config("aux.epochs=1", teacher=teacher)
    train_aux(config, tmp_path, ALONE, Onlooker())
    again = Onlooker()
    summary = train_aux(config, tmp_path, ALONE, again)
    assert again.steps == []
    assert summary["final_top1"] == json.loads((tmp_path / "summary.json").read_text())["final_top1"]


def test_a_family_resumes_at_the_depth_where_it_stopped(tmp_path, teacher):
    train_aux(tiny_config("aux.epochs=1", teacher=teacher), tmp_path / "aux", ALONE, Onlooker())
    gene = tmp_path / "aux" / "learngene.pt"
    config, depths = tiny_config(), [(2,), (4,)]
    train_descendants(config, gene, depths, tmp_path / "whole", ALONE, Onlooker())

    stopped = Onlooker()
    stopped.after_step = lambda step: (
        os.kill(os.getpid(), signal.SIGTERM) if len(stopped.steps) == 2 * STEPS + 3 else None
    )
    with pytest.raises(Preempted):
        train_descendants(config, gene, depths, tmp_path / "stopped", ALONE, stopped)
    rest = Onlooker()
    train_descendants(config, gene, depths, tmp_path / "stopped", ALONE, rest)
    assert len(rest.steps) == 2 * STEPS - 3
    for folder in ("depth-02", "depth-04"):
        one, other = (tmp_path / run / folder / "model.safetensors" for run in ("whole", "stopped"))
        from safetensors.torch import load_file

        ours, theirs = load_file(one), load_file(other)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_training_of_so_many_steps_ends_inside_an_epoch_and_resumes_there(tmp_path, teacher):
    config = tiny_config(f"aux.steps={STEPS + 3}", "aux.min_lr=1e-4", teacher=teacher)
    whole = Onlooker()
    summary = train_aux(config, tmp_path / "whole", ALONE, whole)
    assert whole.steps == list(range(1, STEPS + 4))
    assert [(record["epoch"], record["step"]) for record in whole.records] == [(1, STEPS), (2, STEPS + 3)]
    assert whole.rates[-1] < 2e-4  # the cosine ends with the training, not with the epoch
    assert (summary["plan"]["steps"], summary["plan"]["epochs"]) == (STEPS + 3, 2)
    for stop in (STEPS, STEPS + 2):
        with pytest.raises(Preempted, match=f"stopped at step {stop} of {STEPS + 3}"):
            train_aux(config, tmp_path / "stopped", ALONE, stop_at(stop))
    train_aux(config, tmp_path / "stopped", ALONE, Onlooker())
    assert same(tmp_path / "whole" / "learngene.pt", tmp_path / "stopped" / "learngene.pt")
    again = Onlooker()
    train_aux(config, tmp_path / "stopped", ALONE, again)
    assert not again.steps
