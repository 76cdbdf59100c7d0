"""`tleg lab --tune`: the same number of trials for each method, on held-out training images."""

import json

import pytest

from tests.lab.test_lab_command import METHODS, lab
from tleg_cli.lab.protocol import load_protocol


@pytest.mark.slow
def test_trials_that_fail_are_reported_and_leave_no_rate(protocol, publish, tmp_path):
    publish(METHODS)
    error = lab(protocol(["raises"], depths="2"), "--tune", "--out", tmp_path / "out", "--device", "cpu", code=1)
    assert "3 of 3 trials failed, the first raises with 0.5 times its rates" in error
    assert load_protocol(str(tmp_path / "out" / "tuned.yaml")).recipes == {}


@pytest.mark.slow
def test_rates_are_tried_on_held_out_images_and_the_best_make_a_protocol(protocol, tmp_path):
    file = protocol(
        ["any-depth-linear", "distilled"], recipes={"distilled": {"target": {"lr": 4e-3}}}, budget=6, depths="2"
    )
    found = json.loads(lab(file, "--tune", "--out", tmp_path / "out", "--device", "cpu", "--json"))
    trials = {(trial["method"], trial["factor"]): trial for trial in found["trials"]}
    assert len(trials) == 6
    assert [trials["distilled", factor]["target_lr"] for factor in (0.5, 1.0, 2.0)] == [2e-3, 4e-3, 8e-3]
    assert [trials["any-depth-linear", factor]["source_lr"] for factor in (0.5, 1.0, 2.0)] == [1e-3, 2e-3, 4e-3]
    assert trials["any-depth-linear", 1.0]["target_lr"] is trials["distilled", 1.0]["source_lr"] is None
    config = (
        tmp_path / "out" / "factor-2" / "cells" / "distilled" / "depth-02" / "seed-0" / "training" / "config.yaml"
    ).read_text()
    assert "path: holdout/43/first/26:10/digits" in config
    assert "lr: 0.008" in config
    tuned = load_protocol(found["protocol"])
    for method, part in (("distilled", "target"), ("any-depth-linear", "source")):
        best = max((trials[method, factor] for factor in (0.5, 1.0, 2.0)), key=lambda trial: trial["top1"])
        same = [
            trial[f"{part}_lr"] for key, trial in trials.items() if key[0] == method and trial["top1"] == best["top1"]
        ]
        assert getattr(tuned.recipes[method], part)["lr"] in same
    assert tuned.settings == load_protocol(str(file)).settings  # the protocol itself has its own data
    before = (tmp_path / "out" / "trials.jsonl").read_text()
    lab(file, "--tune", "--out", tmp_path / "out", "--device", "cpu")
    assert (tmp_path / "out" / "trials.jsonl").read_text() == before
