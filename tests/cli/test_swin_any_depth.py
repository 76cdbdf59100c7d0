"""A Swin of any depth from the command line: one training, scores and files at several depths, then the coefficients alone."""

import json

import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.tiny import as_options
from tests.training.test_any_depth import SWIN

COMMON = ("--preset", "digits", "--data", "digits", "--device", "cpu")
ANY = ("aux.depth=2:2-5", "expansion.positions=ends", "expansion.step=1", "aux.score_depths='2:2,2:5'", "aux.epochs=1")


def test_train_evaluate_expand_and_train_the_coefficients(tleg, made, tmp_path):
    settings = as_options(*SWIN, *ANY, "descendant.epochs=1")
    aux = tleg("train-aux", *COMMON, "--teacher", made.teacher, *settings, "--out", tmp_path / "aux", "--json")
    assert aux.code == 0, aux.err
    assert (aux.json()["depth"], aux.json()["depths"]) == ("2:3", "2:2-5")  # 3: sqrt(2 * 5)
    assert set(aux.json()["top1_at"]) == {"2:2", "2:5"}
    gene = tmp_path / "aux" / "learngene.pt"

    scores = tleg("evaluate", gene, "--data", "digits", "--device", "cpu", "--depth", "2:1-3,1:5,9", "--json").json()
    assert [one["depth"] for one in scores["depths"]] == ["2:1", "2:2", "2:3", "1:5", "9"]
    assert scores["depths"][2]["top1"] == aux.json()["final_top1"]

    assert tleg("expand", gene, "--depth", "2:9", "--out", tmp_path / "grown").code == 0
    (file,) = (tmp_path / "grown").iterdir()
    with safe_open(file, framework="pt") as opened:
        network = eval(json.loads(opened.metadata()["tleg"])["create"], {"timm": timm})
    network.load_state_dict(load_file(file), strict=True)
    assert len(network.layers[1].blocks) == 9

    words = ("--learngene", gene, "--depth", "2:9", "--train", "coefficients", "--out", tmp_path / "des", "--json")
    des = tleg("train-des", *COMMON, *settings, *words)
    assert des.code == 0, des.err
    (one,) = des.json()["descendants"]
    assert one["train"] == "coefficients"
    trained = load_file(tmp_path / "des" / "depth-2-9" / "model.safetensors")
    grown = load_file(file)
    assert set(trained) == set(grown)
    assert torch.equal(trained["patch_embed.proj.weight"], grown["patch_embed.proj.weight"])
    assert not torch.equal(trained["layers.1.blocks.8.mlp.fc2.weight"], grown["layers.1.blocks.8.mlp.fc2.weight"])


def test_a_range_for_stages_that_the_backbone_has_not_is_one_line(tleg, made, tmp_path):
    for depth, why in (("2:2:2-5", "stages"), ("2:0-5", "from 1 to"), ("2:5-2", "backwards")):
        settings = as_options(*SWIN, f"aux.depth='{depth}'")
        done = tleg("train-aux", *COMMON, "--teacher", made.teacher, *settings, "--out", tmp_path / "no")
        assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
        assert why in done.err
    assert not (tmp_path / "no").exists()
