"""`tleg fit`: the learngene of a checkpoint, found without being told what it is."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.model_file import read_card, read_weights, write_model

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 2.0, "num_classes": 5}
PLAIN = {"class_token": False, "global_pool": "avg"}


def checkpoint(path, name="vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    save_file(timm.create_model(name, **options).state_dict(), path)
    return path


def test_a_plain_vit_is_recognised_by_its_shapes(tleg, tmp_path):
    path = checkpoint(tmp_path / "vit.safetensors", depth=5, **VIT, **PLAIN)
    report = tleg("fit", path, tmp_path / "gene.pt", "--option", "num_heads=4", "--json").json()
    assert (report["backbone"], report["depth"], report["basis"]) == ("vit", "5", "linear")
    metadata = read_learngene(tmp_path / "gene.pt").metadata
    assert metadata.options == {"img_size": 32, "patch_size": 8, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 2.0}
    assert (metadata.classes, metadata.input.image_size, metadata.depth) == (5, 32, (5,))
    assert report["overall"][0]["r2"] == pytest.approx(0.25, abs=0.05)  # a fresh network is random
    assert report["overall"][0]["random"] == pytest.approx(0.25)


def test_a_line_through_layers_that_are_on_none_is_said_to_be_worthless(tleg, tmp_path, made):
    random = checkpoint(tmp_path / "vit.safetensors", depth=5, **VIT, **PLAIN)
    done = tleg("fit", random, tmp_path / "gene.pt", "--option", "num_heads=4")
    assert done.code == 0
    assert "warning: basis linear keeps hardly more of these layers than of random ones" in done.err
    assert f"tleg adopt {random} --data DATA" in done.err
    assert tleg("expand", made.learngene, "--depth", "6", "--out", tmp_path / "net.safetensors").code == 0
    assert "warning" not in tleg("fit", tmp_path / "net.safetensors", tmp_path / "line.pt").err


def test_layers_of_a_line_in_other_orders_are_found_to_be_on_it_with_align(tleg, tmp_path, made):
    """Every block's hidden units in an order of their own: the same network, but no line goes through its layers any more."""
    assert tleg("expand", made.learngene, "--depth", "6", "--out", tmp_path / "net.safetensors").code == 0
    card, weights = read_card(tmp_path / "net.safetensors"), read_weights(tmp_path / "net.safetensors")
    for block in range(6):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(block))
        for name, axis in (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1)):
            key = f"blocks.{block}.mlp.{name}"
            weights[key] = weights[key].index_select(axis, order)
    write_model(tmp_path / "mixed.safetensors", weights, card)
    plain = tleg("fit", tmp_path / "mixed.safetensors", tmp_path / "plain.pt", "--json").json()
    done = tleg("fit", tmp_path / "mixed.safetensors", tmp_path / "aligned.pt", "--align", "--json")
    overall = done.json()["overall"][0]
    assert plain["overall"][0]["r2"] < 0.5 < 0.98 < overall["r2"]
    assert "warning" not in done.err
    assert 0.25 < overall["random"] < 0.6  # random layers are nearer to a line too, once they are aligned
    scores = [
        tleg("evaluate", tmp_path / name, "--data", "digits", "--device", "cpu", "--json", *more).json()
        for name, more in (("net.safetensors", ()), ("aligned.pt", ("--depth", "6")))
    ]
    assert abs(scores[0]["top1"] - scores[1]["top1"]) < 1
    refused = tleg(
        "fit", checkpoint(tmp_path / "eva.safetensors", "eva02_tiny_patch14_224"), tmp_path / "no.pt", "--align"
    )
    assert (refused.code, "--align is not offered for eva02" in refused.err) == (1, True)
    assert not (tmp_path / "no.pt").exists()


@pytest.mark.parametrize("basis", ["linear", "constant", "piecewise:2", "polynomial:2", "hat:3"])
def test_fit_and_expand_go_together_with_every_basis(tleg, tmp_path, basis):
    path = checkpoint(tmp_path / "vit.safetensors", depth=6, **VIT, **PLAIN)
    assert tleg("fit", path, tmp_path / "a.pt", "--basis", basis).code == 0
    assert tleg("expand", tmp_path / "a.pt", "--depth", 6, "--out", tmp_path / "b.safetensors").code == 0
    report = tleg("fit", tmp_path / "b.safetensors", tmp_path / "c.pt", "--basis", basis, "--json").json()
    assert report["overall"][0]["r2"] in (None, pytest.approx(1, abs=1e-9))  # what was expanded lies on the basis
    assert tleg("expand", tmp_path / "c.pt", "--depth", 6, "--out", tmp_path / "d.safetensors").code == 0
    one, other = load_file(tmp_path / "b.safetensors"), load_file(tmp_path / "d.safetensors")
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)
    metadata = [read_learngene(tmp_path / f"{name}.pt").metadata for name in "ac"]
    assert metadata[0].options == metadata[1].options  # the second is known by tleg's own metadata


def test_a_swin_has_its_stages(tleg, tmp_path):
    path = checkpoint(tmp_path / "swin.safetensors", "swin_tiny_patch4_window7_224", num_classes=3)
    report = tleg("fit", path, tmp_path / "gene.pt", "--json").json()
    assert (report["backbone"], report["depth"]) == ("swin_tiny_patch4_window7_224", "2:2:6:2")
    assert report["overall"][2]["random"] == pytest.approx(0.2)


def test_a_table_for_people_and_no_file_replaced(tleg, tmp_path):
    path = checkpoint(tmp_path / "vit.safetensors", depth=4, **VIT, **PLAIN)
    done = tleg("fit", path, tmp_path / "gene.pt", "--backbone", "vit")
    assert done.code == 0
    assert "of random layers" in done.out
    again = tleg("fit", path, tmp_path / "gene.pt")
    assert (again.code, "exists already" in again.err) == (1, True)
    assert tleg("fit", path, tmp_path / "gene.pt", "--force").code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backbone", "deit_tiny_patch16_224"], "the checkpoint is not a deit_tiny_patch16_224"),
        (["--backbone", "swin"], "it has no blocks at layers.0.blocks"),
        (["--backbone", "vjt"], "'vjt' is unknown"),
        (["--backbone", "vit", "--option", "head=4"], "no option 'head'"),
        (["--option", "num_heads"], "--option KEY=VALUE"),
        (["--basis", "liner"], "Did you mean 'linear'"),
        (["--basis", "hat:9"], "hat:9 has 9 thetas"),
    ],
)
def test_what_cannot_be_is_one_line(tleg, tmp_path, options, words):
    path = checkpoint(tmp_path / "vit.safetensors", depth=4, **VIT, **PLAIN)
    done = tleg("fit", path, tmp_path / "gene.pt", *options)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert words in done.err
    assert not (tmp_path / "gene.pt").exists()


def test_other_files_are_told_what_they_are(tleg, tmp_path):
    checkpoint(tmp_path / "resnet.safetensors", "resnet10t")
    assert "no blocks at" in tleg("fit", tmp_path / "resnet.safetensors", tmp_path / "x.pt").err
    path = checkpoint(tmp_path / "vit.safetensors", depth=4, **VIT, **PLAIN)
    tleg("fit", path, tmp_path / "gene.pt")
    assert "is a learngene already" in tleg("fit", tmp_path / "gene.pt", tmp_path / "x.pt").err
    torch.save({"blocks.block.attn.qkv.instances.0.weight_base": torch.ones(2)}, tmp_path / "reference.pth")
    assert "use tleg import" in tleg("fit", tmp_path / "reference.pth", tmp_path / "x.pt").err
    assert "no file at" in tleg("fit", tmp_path / "nothing.pt", tmp_path / "x.pt").err
