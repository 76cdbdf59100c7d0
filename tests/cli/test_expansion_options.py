"""--step and --positions: an existing learngene read under another rule, from the command line."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.tiny import as_options
from tleg_cli import plugin_manager
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.expansion import Expansion
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import new_aux_net

VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")


@pytest.fixture
def learngene(tmp_path):
    """A ViT's, trained (as far as the file says) with 6 blocks."""
    torch.manual_seed(0)
    metadata = Metadata("vit", VIT, (6,), 10, InputSpec(8, (0.5,) * 3, (0.5,) * 3))
    network = new_aux_net(plugin_manager.get_backbone("vit"), get_basis("linear"), metadata)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    path = tmp_path / "learngene.pt"
    write_learngene(network.learngene(), path)
    return path


def test_expand_step_scaled_gives_networks_that_timm_loads_and_at_the_trained_depth_nothing_changes(tleg, learngene):
    plain, scaled = learngene.parent / "plain", learngene.parent / "scaled"
    assert tleg("expand", learngene, "--depth", "3,6,24", "--out", plain).code == 0
    assert tleg("expand", learngene, "--depth", "3,6,24", "--step", "scaled", "--out", scaled).code == 0
    name = "learngene-depth-{}.safetensors"
    at_6 = [load_file(folder / name.format("06")) for folder in (plain, scaled)]
    assert all(torch.equal(at_6[0][key], at_6[1][key]) for key in at_6[0])
    gene = read_learngene(learngene)
    for depth, step in ((3, 2**0.5), (24, 0.25)):
        weights = load_file(scaled / name.format(f"{depth:02}"))
        theta = gene.theta["blocks.*.attn.proj.bias"]
        at = (depth - 1) / (depth - 1) * 5 / 6  # ends: the last block is the trained network's last
        torch.testing.assert_close(weights[f"blocks.{depth - 1}.attn.proj.bias"], step * (theta[0] + at * theta[1]))
    with safe_open(scaled / name.format("24"), framework="pt") as file:
        card = json.loads(file.metadata()["tleg"])
    assert card["provenance"]["expansion"] == {"basis": "linear", "positions": "ends", "step": "scaled"}


def test_a_rule_travels_with_the_file_and_is_followed_without_options(tleg, learngene):
    gene = read_learngene(learngene)
    for suffix in (".pt", ".safetensors"):
        path = learngene.with_name(f"ruled{suffix}")
        write_learngene(replace(gene, expansion=Expansion("ends", "1", ENDS)), path)
        again = read_learngene(path)
        assert again.expansion == Expansion("ends", "1", ENDS)
        out = learngene.parent / f"from{suffix.replace('.', '-')}.safetensors"
        assert tleg("expand", path, "--depth", "12", "--out", out).code == 0
        written, expected = load_file(out), expand(again, 12)
        assert all(torch.equal(written[key], value) for key, value in expected.items() if key in written)
        back = out.with_stem(f"{out.stem}-published")
        assert tleg("expand", path, "--depth", "12", "--step", "none", "--positions", "tleg", "--out", back).code == 0
        assert all(
            torch.equal(load_file(back)[key], value) for key, value in expand(gene, 12).items() if key in written
        )


def test_a_learngene_of_tlegs_rule_is_written_as_before(learngene):
    content = torch.load(learngene, weights_only=True)
    assert content["format_version"] == 1
    assert "expansion" not in content


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--step", "half"], "write none, scaled"),
        (["--step", "-1"], "write none, scaled"),
        (["--positions", "middle"], "tleg, ends, unit"),
    ],
)
def test_a_rule_that_cant_be_is_one_line_and_nothing_is_written(tleg, learngene, words, wrong):
    done = tleg("expand", learngene, "--depth", "3", *words)
    assert done.code == 1
    assert wrong in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(learngene.parent.glob("*.safetensors"))


@pytest.mark.parametrize(
    "expansion",
    [
        {},
        {"positions": "ends"},
        {"positions": "ends", "step": "scaled", "branch_ends": "attn"},
        {"positions": "ends", "step": "scaled", "branch_ends": []},
        {"positions": "middle", "step": "none", "branch_ends": []},
        {"positions": "ends", "step": "1e999", "branch_ends": list(ENDS)},
        [],
        "ends",
    ],
)
def test_a_file_with_a_broken_rule_is_one_line(tleg, learngene, expansion):
    content = torch.load(learngene, weights_only=True)
    torch.save({**content, "format_version": 2, "expansion": expansion}, learngene)
    done = tleg("expand", learngene, "--depth", "3")
    assert done.code == 1
    assert "expansion" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_file_of_a_later_format_is_one_line(tleg, learngene):
    torch.save({**torch.load(learngene, weights_only=True), "format_version": 4}, learngene)
    done = tleg("expand", learngene, "--depth", "3")
    assert done.code == 1
    assert "format version 4" in done.err


def test_train_des_starts_from_the_rule_that_was_asked_for_and_another_rule_is_another_run(tleg, made, tmp_path):
    words = ("train-des", "--preset", "digits", "--data", "digits", "--device", "cpu", "--learngene", made.learngene)
    words = (*words, "--depth", "9", "--out", tmp_path / "des", *as_options("descendant.epochs=0"))
    assert tleg(*words, "--step", "scaled").code == 0
    found = load_file(tmp_path / "des" / "depth-09" / "model.safetensors")
    gene = read_learngene(made.learngene)
    expected = expand(replace(gene, expansion=Expansion("ends", "scaled", ENDS)), 9)
    assert all(torch.equal(found[name], value) for name, value in expected.items() if name in found)
    refused = tleg(*words)
    assert refused.code == 1
    assert "step" in refused.err
    scratch = tleg(*words, "--init", "scratch", "--step", "scaled")
    assert (scratch.code, "leave them out" in scratch.err) == (1, True)


def test_inspect_shows_a_rule_and_evaluate_follows_it(tleg, made, tmp_path):
    gene = read_learngene(made.learngene)
    write_learngene(replace(gene, expansion=Expansion("ends", "scaled", ENDS)), tmp_path / "ruled.pt")
    assert "positions ends, step scaled" in tleg("inspect", tmp_path / "ruled.pt").out
    assert "positions" not in tleg("inspect", made.learngene).out
    found = tleg("inspect", tmp_path / "ruled.pt", "--json").json()["files"][0]["expansion"]
    assert found == {"positions": "ends", "step": "scaled", "branch_ends": list(ENDS)}
    words = ("--data", "digits", "--depth", "9", "--device", "cpu", "--json")
    ruled = tleg("evaluate", tmp_path / "ruled.pt", *words).json()
    overridden = tleg("evaluate", made.learngene, *words, "--step", "scaled").json()
    assert ruled["loss"] == overridden["loss"] != tleg("evaluate", made.learngene, *words).json()["loss"]


def test_a_network_has_no_rule_to_override(tleg, learngene):
    out = learngene.parent / "one.safetensors"
    assert tleg("expand", learngene, "--depth", "3", "--out", out).code == 0
    done = tleg("evaluate", out, "--data", "digits", "--device", "cpu", "--step", "scaled")
    assert (done.code, "--step is for learngenes" in done.err) == (1, True)


def test_evaluate_scores_a_learngene_at_several_depths(tleg, made):
    words = ("evaluate", made.learngene, "--data", "digits", "--device", "cpu", "--step", "scaled")
    several = tleg(*words, "--depth", "2-4,24", "--json").json()
    assert [one["depth"] for one in several["depths"]] == ["2", "3", "4", "24"]
    one = tleg(*words, "--depth", "24", "--json").json()
    assert {name: one[name] for name in ("top1", "top5", "loss", "images")} == {
        name: several["depths"][3][name] for name in ("top1", "top5", "loss", "images")
    }
    table = tleg(*words, "--depth", "2-4,24").out
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["2", "3", "4", "24"]
