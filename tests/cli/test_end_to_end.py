"""From digits to descendants by commands alone, and what each of them leaves and says."""

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import as_options

COMMON = ("--preset", "digits", "--device", "cpu")


def test_from_images_to_a_family(tleg, tmp_path):
    data = tmp_path / "data"
    prepared = tleg("prepare", "digits", data, "--json")
    assert prepared.json()["train"]["samples"] == 1297
    assert prepared.json()["val"]["samples"] == 500

    common = (*COMMON, "--data", data, *as_options("aux.epochs=1", "descendant.epochs=1"))
    teacher = tleg("train-teacher", *common, "--out", tmp_path / "teacher", "--json")
    assert teacher.code == 0
    assert teacher.json()["kind"] == "teacher"

    weights = tmp_path / "teacher" / "teacher.safetensors"
    aux = tleg("train-aux", *common, "--teacher", weights, "--out", tmp_path / "aux", "--json")
    assert aux.code == 0
    assert aux.json()["depth"] == "3"
    assert {file.name for file in (tmp_path / "aux").iterdir()} >= {
        "config.yaml", "run.json", "metrics.jsonl", "checkpoints", "learngene.pt", "summary.json"
    }  # fmt: skip
    gene = tmp_path / "aux" / "learngene.pt"

    family = tleg("train-des", *common, "--learngene", gene, "--depth", "2,5", "--out", tmp_path / "des", "--json")
    assert [one["depth"] for one in family.json()["descendants"]] == ["2", "5"]
    scratch = tleg(
        "train-des", *common, "--learngene", gene, "--depth", "2,5", "--init", "scratch", "--out", tmp_path / "scratch"
    )
    assert scratch.code == 0
    assert "from scratch" in scratch.err

    # zero-epoch scores are those of the expanded learngene, whoever computes them
    for one in family.json()["descendants"]:
        scored = tleg("evaluate", gene, "--depth", one["depth"], "--data", data, "--json", "--device", "cpu")
        assert scored.json()["top1"] == pytest.approx(one["zero_epoch_top1"])
        assert scored.json()["images"] == 500


def test_expand_writes_plain_timm_networks(tleg, made, tmp_path):
    import timm

    assert tleg("expand", made.learngene, "--depth", "1,4", "--out", tmp_path).code == 0
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    for file, depth in zip(files, (1, 4), strict=True):
        arguments = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "num_heads": 2, "class_token": False}
        model = timm.create_model(
            "vit_tiny_patch16_224",
            depth=depth,
            num_classes=10,
            global_pool="avg",
            checkpoint_path=str(file),
            **arguments,
        )
        weights = load_file(file)
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_results_go_to_stdout_and_progress_to_stderr(tleg, made, tmp_path):
    done = tleg("expand", made.learngene, "--depth", "2", "--out", tmp_path, "--json")
    assert done.json()
    common = (*COMMON, "--data", "digits", "--learngene", made.learngene, *as_options("descendant.epochs=1"))
    trained = tleg("train-des", *common, "--depth", "2", "--out", tmp_path / "des", "--json")
    assert trained.json()["descendants"][0]["depth"] == "2"
    assert "epoch" in trained.err
    assert "\x1b" not in trained.err  # no bars, no colours: this is no terminal


def test_a_saved_config_can_be_run_again(tleg, made, tmp_path):
    options = as_options("aux.epochs=1")
    first = tleg(
        "train-aux", *COMMON, "--data", "digits", "--teacher", made.teacher, *options, "--out", tmp_path / "one"
    )
    again = tleg(
        "train-aux", "--preset", tmp_path / "one" / "config.yaml", "--device", "cpu", "--out", tmp_path / "two"
    )
    assert (first.code, again.code) == (0, 0)
    one, two = (torch.load(tmp_path / run / "learngene.pt", weights_only=True) for run in ("one", "two"))
    assert one.keys() == two.keys()
    assert (tmp_path / "one" / "config.yaml").read_text() == (tmp_path / "two" / "config.yaml").read_text()


def test_inspect_doctor_presets_and_plugins_report(tleg, made):
    assert tleg("inspect", made.learngene).code == 0
    assert tleg("inspect", made.learngene, "--json").json()["files"][0]["kind"] == "learngene"
    facts = tleg("doctor", "--json").json()
    assert torch.__version__.startswith(facts["torch"])
    assert "digits" in tleg("presets").out
    assert "embed_dim: 64" in tleg("presets", "digits").out
    assert "deit" in tleg("plugins").out
