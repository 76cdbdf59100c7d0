"""Networks of a backbone: what timm builds, and what is refused before it is trained for a week."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, PluginError
from tleg_cli.hookspecs import Backbone
from tleg_cli.models.build import build_model, check_stages, timm_call

OPTIONS = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
VIT = plugin_manager.get_backbone("vit")


@pytest.mark.parametrize(("width", "name"), [(192, "tiny"), (384, "small"), (768, "base")])
def test_deit_has_no_class_token_and_pools_the_patches(width, name):
    model = build_model(plugin_manager.get_backbone(f"deit_{name}_patch16_224"), {}, (1,), 1000)
    assert model.embed_dim == width
    assert "cls_token" not in model.state_dict()
    assert model.pos_embed.shape == (1, 196, width)
    assert model.global_pool == "avg"


@pytest.mark.parametrize("depth", [1, 3, 12])
def test_the_line_of_python_builds_the_same_network(depth):
    call = timm_call(VIT, OPTIONS, (depth,), 7)
    model = eval(call.source(), {"timm": timm})
    ours = build_model(VIT, OPTIONS, (depth,), 7)
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in ours.state_dict().items()
    }


def test_the_usual_depth_is_the_familys():
    assert timm_call(plugin_manager.get_backbone("swin"), {}, (18,), 10).arguments["depths"] == (2, 2, 18, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embed_dims": 16}, ["no option 'embed_dims'", "Did you mean 'embed_dim'"]),
        ({"img_size": 8, "patch_size": 4, "embed_dim": 15, "num_heads": 2}, ["timm can't build", "embed_dim=15"]),
        ({"img_size": "big"}, ["img_size = 'big' must be above 0"]),
        ({"img_size": 8, "patch_size": 0}, ["patch_size = 0 must be above 0"]),
        ({"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 0}, ["num_heads = 0 must be above 0"]),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options, words):
    with pytest.raises(ConfigError) as caught:
        build_model(VIT, options, (2,), 10)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_model_that_timm_does_not_have_is_named():
    with pytest.raises(ConfigError, match="no_such_model"):
        build_model(Backbone("mine", timm_name="no_such_model"), {}, (2,), 10)


def test_blocks_that_are_elsewhere_are_named():
    with pytest.raises(PluginError, match="backbone mine: VisionTransformer has no 'layers'"):
        build_model(replace(VIT, name="mine", stages=("layers",)), OPTIONS, (2,), 10)


def test_another_number_of_blocks_than_asked_for_is_refused():
    model = timm.create_model("vit_tiny_patch16_224", depth=3)
    with pytest.raises(PluginError, match="'blocks' holds 3 blocks where depth 4 asks for 4"):
        check_stages(model, VIT, (4,))


def test_a_place_that_holds_something_else_is_refused():
    with pytest.raises(PluginError, match="'patch_embed' holds"):
        build_model(replace(VIT, stages=("patch_embed",)), OPTIONS, (2,), 10)


def test_unequal_blocks_in_one_stage_are_refused_by_name():
    model = nn.Module()
    model.blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 5))
    with pytest.raises(PluginError, match=r"blocks\.1\.bias has shape \(5,\), but in block 0 it is \(4,\).*unequal"):
        check_stages(model, replace(VIT, name="mine"), (2,))
    model.blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    with pytest.raises(PluginError, match=r"blocks\.1\.bias has shape None"):
        check_stages(model, replace(VIT, name="mine"), (2,))


def test_a_real_network_with_unequal_blocks_is_refused():
    """The first block of a ResNet's stage has a projection that the others lack."""
    resnet = Backbone(
        "resnet", "resnet26", ("layer1", "layer2", "layer3", "layer4"), "layers", (2, 2, 2, 3), head=("fc",)
    )
    with pytest.raises(PluginError, match=r"layer1\.1\.conv1\.weight has shape .* unequal blocks can't be expanded"):
        build_model(resnet, {}, (2, 2, 2, 3), 10)


@pytest.mark.parametrize("depth", [(2, 2), (2, 2, 6, 2)])
def test_more_stages_than_the_family_has_are_refused(depth):
    with pytest.raises(ConfigError, match="but vit has 1"):
        build_model(VIT, OPTIONS, depth, 10)


def test_building_draws_from_the_generator_and_nothing_else():
    def weights() -> torch.Tensor:
        torch.manual_seed(3)
        return build_model(VIT, OPTIONS, (2,), 10).blocks[1].attn.qkv.weight

    assert torch.equal(weights(), weights())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {"num_heads": -2}),  # 192 % -2 == 0: timm builds it
        ("vit", {"embed_dim": 0}),
        ("vit", {"mlp_ratio": -4.0}),
        ("vit", {"patch_size": "16"}),
        ("swin_2_stages", {"num_heads": [3, -6]}),
        ("swin_2_stages", {"window_size": True}),
        ("convnext", {"dims": []}),
    ],
)
def test_a_size_that_cant_be_is_refused_by_name(name, options):
    backbone = plugin_manager.get_backbone(name)
    with pytest.raises(ConfigError, match=f"{next(iter(options))} = .* must be above 0"):
        timm_call(backbone, options, backbone.usual_depth, 10)
