"""Descendants: plain timm networks, that timm loads without tleg."""

import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import write_learngene
from tleg_cli.models.build import build_model
from tleg_cli.models.descendant import at_image_size, descendant_folder, expanded_model, full_depth
from tleg_cli.models.grow import grow

OPTIONS = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}


@pytest.mark.parametrize("depth", range(1, 25))
def test_every_depth_loads_into_a_plain_timm_model_strictly(make_aux_net, depth):
    learngene = make_aux_net().learngene()
    plain = timm.create_model(
        "vit_tiny_patch16_224", **OPTIONS, depth=depth, num_classes=10, class_token=False, global_pool="avg"
    )
    plain.load_state_dict(expand(learngene, depth), strict=True)
    expanded = expanded_model(learngene, (depth,))
    assert len(expanded.blocks) == depth
    for (name, ours), theirs in zip(expanded.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_descendant_is_independent_of_its_learngene(make_aux_net):
    aux_net = make_aux_net()
    descendant = expanded_model(aux_net.learngene(), (3,))
    assert all(parameter.requires_grad for parameter in descendant.parameters())
    before = {name: value.clone() for name, value in descendant.state_dict().items()}
    with torch.no_grad():
        for parameter in aux_net.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in descendant.state_dict().items())


def test_other_classes_get_a_fresh_head_and_nothing_else_is_fresh(make_aux_net):
    learngene = make_aux_net().learngene()
    same, other = expanded_model(learngene, (3,)), expanded_model(learngene, (3,), classes=4)
    assert other.head.weight.shape == (4, 16)
    assert other.head.weight.std() < 0.1  # fresh; the learngene's head was drawn ten times as wide
    assert torch.equal(same.head.weight, learngene.shared["head.weight"])
    for name, value in same.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(other.state_dict()[name], value), name


def test_a_learngene_of_another_width_is_refused_by_name(make_aux_net):
    learngene = make_aux_net().learngene()
    wider = replace(learngene, metadata=replace(learngene.metadata, options={**OPTIONS, "embed_dim": 32}))
    with pytest.raises(FileFormatError, match=r"learngene of vit: .* has shape .*16.* expects .*32"):
        expanded_model(wider, (3,))


def test_an_unknown_backbone_suggests_the_nearest(make_aux_net):
    learngene = make_aux_net().learngene()
    other = replace(learngene, metadata=replace(learngene.metadata, backbone="deit_tiny_patch16_225"))
    with pytest.raises(ConfigError, match="'deit_tiny_patch16_224'"):
        expanded_model(other, (3,))


SCRIPT = """
import sys
sys.modules["tleg_cli"] = None  # an import of tleg would fail
import timm, torch
model = {create}
torch.save(model.eval()(torch.load(sys.argv[1])), sys.argv[2])
assert not [name for name in sys.modules if name.startswith("tleg_cli.")]
"""


def test_timm_loads_a_written_descendant_without_tleg(make_aux_net, images, tmp_path):
    learngene = make_aux_net().learngene()
    write_learngene(learngene, tmp_path / "gene.pt")
    (grown,) = grow(learngene, [(7,)], tmp_path / "gene.pt", tmp_path / "net.safetensors")
    create = f"{grown.create.removesuffix(')')}, checkpoint_path={str(grown.file)!r})"
    torch.save(images, tmp_path / "images.pt")
    subprocess.run(
        [sys.executable, "-c", SCRIPT.format(create=create), "images.pt", "logits.pt"], cwd=tmp_path, check=True
    )
    with torch.no_grad():
        expected = expanded_model(learngene, (7,)).eval()(images)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), expected)


def test_parameters_are_those_of_timms_own_network(make_aux_net):
    learngene = make_aux_net().learngene()
    from tleg_cli import plugin_manager

    backbone = plugin_manager.get_backbone("vit")
    for depth in (1, 5, 12):
        fresh = build_model(backbone, OPTIONS, (depth,), 10)
        assert sum(p.numel() for p in expanded_model(learngene, (depth,)).parameters()) == sum(
            p.numel() for p in fresh.parameters()
        )


def test_at_another_image_size_timm_resamples_the_position_embedding(make_aux_net):
    from timm.layers import resample_abs_pos_embed

    learngene = make_aux_net().learngene()
    assert at_image_size(learngene, 8) is learngene
    larger = at_image_size(learngene, 16)
    assert (larger.metadata.input.image_size, larger.metadata.options["img_size"]) == (16, 16)
    assert all(torch.equal(larger.theta[name], value) for name, value in learngene.theta.items())
    expected = resample_abs_pos_embed(learngene.shared["pos_embed"], [4, 4], num_prefix_tokens=0)
    assert torch.allclose(larger.shared["pos_embed"], expected, atol=1e-6)
    assert expanded_model(larger, (3,)).eval()(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    with pytest.raises(ConfigError, match="can't be used at 1"):
        at_image_size(learngene, 1)


@pytest.mark.parametrize(
    ("asked", "trained", "full"),
    [((6,), (2, 2, 6, 2), (2, 2, 6, 2)), ((6,), (2, 2, 2, 2), (2, 2, 6, 2)), ((6,), (8, 2, 4, 2), (8, 2, 6, 2))],
)
def test_one_number_sets_the_third_stage_of_a_swin(make_aux_net, asked, trained, full):
    learngene = make_aux_net().learngene()
    stages = tuple(f"layers.{stage}.blocks" for stage in range(4))
    swin = replace(learngene.metadata, backbone="swin_tiny_patch4_window7_224", depth=trained)
    assert full_depth(replace(learngene, theta={}, stages=stages, metadata=swin), asked) == full


def test_folders_sort_as_depths_do():
    assert [descendant_folder((depth,)) for depth in (3, 12)] == ["depth-03", "depth-12"]
    assert descendant_folder((2, 2, 18, 2)) == "depth-2-2-18-2"
