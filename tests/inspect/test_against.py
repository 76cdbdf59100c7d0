"""--against: what training changed."""

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.inspect.against import drift


def test_a_descendant_that_was_not_trained_has_not_drifted(files):
    found = drift(files["descendant"], files["learngene"])
    assert (found["kind"], found["depth"], found["basis"]) == ("learngene", "12", "linear")
    assert (found["missing"], found["added"], found["reshaped"]) == ([], [], [])
    assert all(one["drift"] < 1e-6 for one in found["tensors"])
    assert len(found["tensors"]) == 12 * 4 + 1


@pytest.mark.parametrize("turned", [False, True])
def test_noise_is_seen_from_both_sides(files, turned):
    pair = (files["trained"], files["learngene"])
    found = drift(*(reversed(pair) if turned else pair))
    overall = found["overall"]
    assert 0.05 < overall["drift"] < 0.2
    assert overall["cosine"] > 0.98
    assert overall["in_basis"] == pytest.approx(2 / 12, abs=0.03)  # noise is in the basis by chance
    assert overall["random"] == pytest.approx(2 / 12)


def test_another_learngene_is_wholly_in_the_basis(files):
    found = drift(files["descendant"], files["other"])
    assert found["overall"]["in_basis"] == pytest.approx(1, abs=1e-6)
    assert found["modules"][0]["drift"] == pytest.approx(1 / 3, abs=1e-5)  # theta against 1.5 theta


def test_two_learngenes_are_compared_theta_by_theta(files):
    found = drift(files["learngene"], files["other"])
    assert found["depth"] is None
    by_name = {one["name"]: one["drift"] for one in found["tensors"]}
    assert by_name["blocks.*.attn.qkv.weight theta_A"] == pytest.approx(1 / 3)
    assert by_name["head.weight"] == 0
    assert found["overall"]["in_basis"] is None


def test_two_checkpoints_drift_is_the_norm_of_the_change(files):
    found = drift(files["trained"], files["random"])
    one, other = (torch.load(files["random"], weights_only=True)["model"], None)
    from safetensors.torch import load_file

    other = load_file(files["trained"])
    for entry in found["tensors"]:
        name = entry["name"]
        assert entry["drift"] == pytest.approx(float((other[name] - one[name]).norm() / one[name].norm()), rel=1e-4)


def test_what_is_missing_added_or_of_another_shape(tmp_path):
    save_file({"blocks.0.a": torch.ones(2), "x": torch.ones(3), "here": torch.ones(1)}, tmp_path / "a.safetensors")
    save_file({"blocks.0.a": torch.ones(2), "x": torch.ones(4), "there": torch.ones(1)}, tmp_path / "b.safetensors")
    found = drift(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (found["missing"], found["added"]) == (["there"], ["here"])
    assert found["reshaped"] == [{"name": "x", "here": [3], "there": [4]}]


def test_nan_and_nothing_to_divide_by_become_none(tmp_path):
    save_file({"a": torch.zeros(2), "b": torch.full((2,), float("nan"))}, tmp_path / "a.safetensors")
    found = drift(tmp_path / "a.safetensors", tmp_path / "a.safetensors")
    assert [one["drift"] for one in found["tensors"]] == [None, None]


def test_a_reference_checkpoint_of_any_width_is_a_learngene(tmp_path):
    from tests.learngene.test_reference import reference_weights, save
    from tleg_cli.learngene.expand import expand
    from tleg_cli.learngene.reference import read_reference

    path = save(tmp_path / "c.pth", reference_weights(100, patch=4, side=2))
    grown = expand(read_reference(path, "vit", heads=10), 5)
    save_file(grown, tmp_path / "grown.safetensors")
    found = drift(tmp_path / "grown.safetensors", path)
    assert (found["kind"], found["missing"], found["added"]) == ("reference", [], [])
    assert found["overall"]["drift"] < 1e-6
