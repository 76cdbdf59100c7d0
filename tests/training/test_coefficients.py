"""`train-des --train coefficients`: a plain network whose matrices are combinations of the learngene's, however it was interrupted."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tests.training.test_any_depth import SWIN
from tests.training.test_resume import stop_at
from tleg_cli.errors import ConfigError, Preempted
from tleg_cli.learngene.file import read_learngene
from tleg_cli.report.summary import report_family
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants

ONLY = ("descendant.train=coefficients", "descendant.lr=1e-2", "descendant.step=scaled", "descendant.ema_decay=0.9")


@pytest.fixture(scope="module")
def learngene(teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("aux")
    train_aux(tiny_config(teacher=teacher), out, ALONE, Onlooker())
    return out / "learngene.pt"


def trained(learngene, out, *settings, depth=(9,), observer=None, **options):
    config = tiny_config(*ONLY, *settings)
    return train_descendants(config, learngene, [depth], out, ALONE, observer or Onlooker(), **options)


def test_matrices_stay_combinations_of_the_learngene_and_shared_weights_what_they_were(tmp_path, learngene, capsys):
    watch = Onlooker()
    family = trained(learngene, tmp_path, observer=watch)
    gene = read_learngene(learngene)
    for file in ("model.safetensors", "model_ema.safetensors"):
        weights = load_file(tmp_path / "depth-09" / file)
        moved = 0.0
        for name in ("attn.qkv.weight", "attn.proj.weight", "attn.proj.bias", "mlp.fc1.weight", "mlp.fc2.weight"):
            theta = gene.theta[f"blocks.*.{name}"].flatten(1).double()
            for block in range(9):
                weight = weights[f"blocks.{block}.{name}"].flatten().double()
                found = torch.linalg.lstsq(theta.T, weight[:, None]).solution
                torch.testing.assert_close(theta.T @ found, weight[:, None], rtol=0, atol=1e-5)
                moved = max(moved, float((found[0] - (3 / 9 if "proj" in name or "fc2" in name else 1)).abs()))
        assert moved > 1e-3
        for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed"):
            assert torch.equal(weights[name], gene.shared[name])
        assert not torch.equal(weights["head.weight"], gene.shared["head.weight"])
        assert not torch.equal(weights["blocks.0.norm1.weight"], gene.theta["blocks.*.norm1.weight"][0])
    assert watch.records[-1]["loss"] < watch.records[1]["loss"]
    summary = family["descendants"][0]
    matrices, vectors = 4 * 2 * 9 * 2, 9 * 4 * 16 + 2 * 16  # coefficients of weights and biases; norms
    assert summary["trained_parameters"] == matrices + vectors + 16 * 10 + 10
    assert summary["parameters"] == sum(value.numel() for value in weights.values())
    with safe_open(tmp_path / "depth-09" / "model.safetensors", framework="pt") as file:
        card = json.loads(file.metadata()["tleg"])["provenance"]["training"]
    assert (card["train"], card["trained_parameters"]) == ("coefficients", summary["trained_parameters"])
    report_family(family, tmp_path, as_json=False)
    assert f"{summary['trained_parameters']:,} (" in capsys.readouterr().out


def test_no_epoch_is_expand(tmp_path, learngene):
    trained(learngene, tmp_path / "only", "descendant.epochs=0")
    trained(learngene, tmp_path / "all", "descendant.epochs=0", "descendant.train=all")
    ours, theirs = (load_file(tmp_path / name / "depth-09" / "model.safetensors") for name in ("only", "all"))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-7)


def test_timm_alone_gives_the_score_of_the_last_epoch(tmp_path, learngene):
    import timm

    from tleg_cli.data.open import open_eval_loader

    family = trained(learngene, tmp_path)
    file = tmp_path / "depth-09" / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        create = json.loads(opened.metadata()["tleg"])["create"]
    network = eval(create, {"timm": timm}).eval()
    network.load_state_dict(load_file(file), strict=True)
    data = tiny_config().data
    loader = open_eval_loader(data, batch_size=256, rank=0, world=1)
    right = 0
    with torch.no_grad():
        for images, labels in loader.epoch(0):
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
            right += int((network((images / 255 - mean) / std).argmax(1) == labels).sum())
    assert 100 * right / 500 == pytest.approx(
        family["descendants"][0]["final_top1"], abs=0.21
    )  # one image may be a tie


def test_stopped_in_mid_epoch_the_weights_are_bitwise_the_same(tmp_path, learngene):
    drops = ("descendant.drop_path=0.1", "descendant.drop_rate=0.1")
    trained(learngene, tmp_path / "straight", *drops)
    with pytest.raises(Preempted):
        trained(learngene, tmp_path / "stopped", *drops, observer=stop_at(STEPS + 3))
    trained(learngene, tmp_path / "stopped", *drops)
    for file in ("model.safetensors", "model_ema.safetensors"):
        one, other = (load_file(tmp_path / name / "depth-09" / file) for name in ("straight", "stopped"))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_stages_have_coefficients_of_their_own(tmp_path, teacher):
    train_aux(tiny_config(*SWIN, "aux.depth=2:3", "aux.epochs=1", teacher=teacher), tmp_path / "aux", ALONE, Onlooker())
    family = trained(tmp_path / "aux" / "learngene.pt", tmp_path / "des", *SWIN, "descendant.epochs=1", depth=(2, 6))
    weights = load_file(tmp_path / "des" / "depth-2-6" / "model.safetensors")
    assert family["descendants"][0]["trained_parameters"] < 0.2 * family["descendants"][0]["parameters"]
    assert "layers.1.blocks.5.attn.relative_position_bias_table" in weights


@pytest.mark.parametrize("before", ["all", "coefficients"])
def test_training_another_part_is_another_run(tmp_path, learngene, before):
    short = ("descendant.epochs=0",)
    trained(learngene, tmp_path, *short, f"descendant.train={before}")
    other = {"all": "coefficients", "coefficients": "all"}[before]
    with pytest.raises(ConfigError, match="train"):
        trained(learngene, tmp_path, *short, f"descendant.train={other}")


def test_what_has_no_coefficients_is_refused(tmp_path, learngene):
    with pytest.raises(ConfigError, match="leave out --train coefficients"):
        trained(None, tmp_path, "descendant.step=null", scratch=True)
    with pytest.raises(ConfigError, match=r"leave out descendant\.layer_decay"):
        trained(learngene, tmp_path, "descendant.layer_decay=0.7")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"descendant\.train"):
        tiny_config("descendant.train=some")
