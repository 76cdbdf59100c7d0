"""Folders of networks, and the model card: its scores are those of `tleg evaluate`, its header is the hub's, and names stay text."""

import yaml

from tests.tiny import as_options
from tleg_cli.models.model_file import read_card, write_model


def test_a_card_has_the_scores_that_evaluate_prints(tleg, made, tmp_path):
    folder = tmp_path / "depth-05"
    assert tleg("expand", made.learngene, "--depth", 5, "--out", folder / "model.safetensors").code == 0
    done = tleg("card", folder, "--data", "digits", "--license", "apache-2.0", "--base-model", "me/gene")
    assert done.code == 0, done.err
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(header)
    scores = tleg("evaluate", folder / "model.safetensors", "--data", "digits", "--json").json()
    metrics = {one["type"]: one["value"] for one in head["model-index"][0]["results"][0]["metrics"]}
    assert abs(metrics["accuracy"] * 100 - scores["top1"]) < 1e-3
    assert abs(metrics["top5_accuracy"] * 100 - scores["top5"]) < 1e-3
    assert (head["library_name"], head["license"], head["base_model"]) == ("timm", "apache-2.0", "me/gene")
    assert f"top-1 {scores['top1']:.2f} %" in text
    again = tleg("card", folder)
    assert again.code == 1
    assert "--force" in again.err


def test_a_card_has_the_score_of_the_training_unless_data_are_given(tleg, made, tmp_path):
    words = ("--preset", "digits", "--data", "digits", "--device", "cpu", "--learngene", made.learngene, "--depth", 2)
    short = as_options("descendant.epochs=1")
    assert tleg("train-des", *words, *short, "--out", tmp_path / "des").code == 0
    top1 = read_card(tmp_path / "des" / "depth-02" / "model.safetensors").provenance["training"]["top1"]
    for folder, seed in (
        (tmp_path / "des" / "depth-02", "seed 0"),
        (made.teacher.parent, "the teacher of a learngene"),
    ):
        done = tleg("card", folder, "--json", "--force")
        assert done.code == 0, done.err
        assert done.json()["data"] == "digits"
        assert seed in (folder / "README.md").read_text()
        (folder / "README.md").unlink()
    assert tleg("card", tmp_path / "des" / "depth-02", "--json").json()["top1"] == top1


def test_names_with_html_stay_text(tleg, made, tmp_path):
    assert tleg("expand", made.learngene, "--depth", 2, "--out", tmp_path / "model.safetensors").code == 0
    from dataclasses import replace

    from tleg_cli.models.model_file import read_weights

    file = tmp_path / "model.safetensors"
    card = read_card(file)
    names = ("<script>alert(1)</script>", *"bcdefghi", "*j*")
    write_model(file, read_weights(file), replace(card, class_names=names))
    assert tleg("card", tmp_path).code == 0
    text = (tmp_path / "README.md").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "\\*j\\*" in text


def test_a_card_of_something_else_is_refused(tleg, tmp_path):
    done = tleg("card", tmp_path)
    assert done.code == 1
    assert "has no model.safetensors" in done.err


def test_evaluate_scores_a_family_as_its_networks(tleg, made, tmp_path):
    for depth in (2, 11):
        file = tmp_path / "des" / f"depth-{depth:02d}" / "model.safetensors"
        assert tleg("expand", made.learngene, "--depth", depth, "--out", file).code == 0
    family = tleg("evaluate", tmp_path / "des", "--data", "digits", "--json").json()
    learngene = tleg("evaluate", made.learngene, "--data", "digits", "--depth", "2,11", "--json").json()
    assert family["depths"] == learngene["depths"]
    none = tleg("evaluate", tmp_path, "--data", "digits")
    assert none.code == 1
    assert "has no network" in none.err
