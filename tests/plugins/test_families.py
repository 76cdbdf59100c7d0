"""Families that differ: what is expanded is the same function as the aux net, and loads into a plain timm network."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_weight_decay

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, PluginError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.depths import complete_depth, parse_depths
from tleg_cli.learngene.expand import expand
from tleg_cli.models.aux_net import AuxNet, new_aux_net
from tleg_cli.models.build import build_model, timm_call
from tleg_cli.models.descendant import expanded_model
from tleg_cli.models.shells import take_out_blocks

VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
SWIN = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 8, "num_heads": (2, 4)}
DEEP_SWIN = {"img_size": 32, "patch_size": 2, "window_size": 2, "embed_dim": 8, "num_heads": (1, 2, 4, 8)}
CONVNEXT = {"dims": (8, 12, 16, 20), "patch_size": 2, "kernel_sizes": 3}
# backbone, options, image size, depth of the aux net, depths of descendants
FAMILIES: list[tuple[str, dict[str, Any], int, tuple[int, ...], list[tuple[int, ...]]]] = [
    ("vit", VIT, 8, (4,), [(1,), (3,), (9,)]),
    ("deit3", VIT, 8, (4,), [(1,), (3,), (9,)]),
    ("beit", VIT, 8, (4,), [(1,), (3,), (9,)]),
    ("eva02", VIT, 8, (4,), [(1,), (3,), (9,)]),
    ("swin_2_stages", SWIN, 16, (2, 4), [(1, 1), (2, 6), (3, 2)]),
    ("swin", DEEP_SWIN, 32, (2, 2, 3, 2), [(1, 1, 1, 1), (2, 2, 6, 2)]),
    ("swinv2_2_stages", SWIN, 16, (2, 4), [(1, 1), (2, 6), (3, 2)]),
    ("swinv2", DEEP_SWIN, 32, (2, 2, 3, 2), [(1, 1, 1, 1), (2, 2, 6, 2)]),
    ("convnext", CONVNEXT, 32, (2, 2, 3, 2), [(1, 1, 1, 1), (3, 3, 9, 3)]),
    ("convnextv2", CONVNEXT, 32, (2, 2, 3, 2), [(1, 1, 1, 1), (3, 3, 9, 3)]),
]
NAMES = [family[0] for family in FAMILIES]


def aux_net_of(
    metadata_of: Any, name: str, options: Any, size: int, depth: tuple[int, ...], **training: float
) -> AuxNet:
    """With every number drawn: a fresh theta_A of a norm is 0 and would prove nothing."""
    torch.manual_seed(0)
    metadata = metadata_of(depth, name, options, size)
    aux_net = new_aux_net(plugin_manager.get_backbone(name), get_basis("linear"), metadata, **training)
    with torch.no_grad():
        for parameter in aux_net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return aux_net.eval()


def pictures(size: int) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_the_aux_net_is_its_expansion_at_the_same_depth(metadata_of, name, options, size, depth, others):
    aux_net = aux_net_of(metadata_of, name, options, size, depth)
    descendant = expanded_model(aux_net.learngene(), depth).eval()
    with torch.no_grad():
        ours, theirs = aux_net(pictures(size)), descendant(pictures(size))
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_every_depth_loads_into_a_plain_timm_network(metadata_of, name, options, size, depth, others):
    gene = aux_net_of(metadata_of, name, options, size, depth).learngene()
    backbone = plugin_manager.get_backbone(name)
    for other in others:
        call = timm_call(backbone, options, other, 10)
        plain = eval(call.source(), {"timm": timm}).eval()
        weights = expand(gene, other)
        plain.load_state_dict(weights, strict=True)
        for place, blocks in zip(backbone.stages, other, strict=True):
            assert len(plain.get_submodule(place)) == blocks
        with torch.no_grad():
            assert plain(pictures(size)).isfinite().all()


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_what_lies_in_a_block_is_expanded_and_all_of_it(metadata_of, name, options, size, depth, others):
    """theta_l = theta_B + (l / L) theta_A for every parameter of every block; what lies outside is copied."""
    gene = aux_net_of(metadata_of, name, options, size, depth).learngene()
    backbone = plugin_manager.get_backbone(name)
    plain = build_model(backbone, options, others[-1], 10)
    weights = expand(gene, others[-1])
    for key, value in plain.named_parameters():
        stage = next((s for s in backbone.stages if key.startswith(f"{s}.")), None)
        assert weights[key].shape == value.shape
        if stage is None:
            assert torch.equal(weights[key], gene.shared[key]), key
            continue
        block, _, rest = key[len(stage) + 1 :].partition(".")
        theta_b, theta_a = gene.theta[f"{stage}.*.{rest}"]
        position = int(block) / others[-1][backbone.stages.index(stage)]
        torch.testing.assert_close(weights[key], theta_b + position * theta_a, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_every_theta_is_trained(metadata_of, name, options, size, depth, others):
    aux_net = aux_net_of(metadata_of, name, options, size, depth).train()
    torch.nn.functional.cross_entropy(aux_net(pictures(size)), torch.arange(3)).backward()
    for key, theta in aux_net.learngene().theta.items():
        assert theta.grad is not None, key
        assert all(part.abs().max() > 0 for part in theta.grad), key


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_weight_decay_spares_what_a_plain_network_spares(metadata_of, name, options, size, depth, others):
    backbone = plugin_manager.get_backbone(name)
    plain = build_model(backbone, options, depth, 10)
    aux_net = aux_net_of(metadata_of, name, options, size, depth)
    ours = {key.removeprefix("theta.").removeprefix("skeleton.").replace("/", ".") for key in decayed(aux_net)}
    theirs = set()
    for key in decayed(plain):
        stage = next((s for s in backbone.stages if key.startswith(f"{s}.")), None)
        theirs.add(f"{stage}.#.{key[len(stage) + 1 :].partition('.')[2]}" if stage else key)
    assert ours == theirs


def decayed(model: Any) -> set[str]:
    spared = getattr(model, "no_weight_decay", set)()
    _, group = param_groups_weight_decay(model, 0.05, no_weight_decay_list=spared)
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


@pytest.mark.parametrize("name", sorted(plugin_manager.backbones()))
def test_no_family_drops_paths_unless_it_is_asked_to(name):
    """timm's Swin does, by 0.1; a recipe with drop_path 0 would silently train with it."""
    backbone = plugin_manager.get_backbone(name)
    with torch.device("meta"):
        model = build_model(backbone, {}, (1,) * len(backbone.stages), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0


def test_a_family_that_drops_paths_by_itself_is_refused():
    backbone = replace(plugin_manager.get_backbone("swin_2_stages"), arguments={})
    with pytest.raises(PluginError, match=r"drops paths by itself, up to 0\.1; write arguments="):
        build_model(backbone, SWIN, (2, 2), 10)
    rates = [
        m.drop_prob
        for m in build_model(backbone, SWIN, (2, 2), 10, drop_path_rate=0.3).modules()
        if hasattr(m, "drop_prob")
    ]
    assert max(rates) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["swin_2_stages", "swinv2_2_stages"])
def test_the_recipe_decides_how_many_paths_are_dropped(metadata_of, name):
    aux_net = aux_net_of(metadata_of, name, SWIN, 16, (2, 4), drop_path_rate=0.5).train()
    with torch.no_grad():
        assert not torch.equal(aux_net(pictures(16)), aux_net(pictures(16)))
        aux_net = aux_net_of(metadata_of, name, SWIN, 16, (2, 4)).train()
        assert torch.equal(aux_net(pictures(16)), aux_net(pictures(16)))


STAGES = tuple(f"stages.{stage}.blocks" for stage in range(4))


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (Backbone("mine", "resnet26", ("layer1", "layer2"), "layers", (2, 2)), "layer1.1.conv1.weight has shape"),
        (
            Backbone("mine", "swinv2_cr_tiny_ns_224", STAGES, "depths", (2, 2, 6, 2)),
            "stages.0.blocks.1.norm3.bias has shape",
        ),
    ],
    ids=["resnet", "swinv2_cr"],
)
def test_unequal_blocks_are_refused_by_name(backbone, words):
    with pytest.raises((PluginError, ConfigError)) as caught:
        build_model(replace(backbone, arguments={}), {}, backbone.usual_depth, 10, drop_path_rate=0.1)
    assert words in str(caught.value)
    assert "unequal blocks can't be expanded" in str(caught.value)


def test_blocks_with_running_statistics_are_refused_by_name():
    levit = Backbone("mine", "levit_128s", STAGES[:3], "depth", (2, 3, 4))
    model = build_model(levit, {}, (1, 1, 2), 10)
    with pytest.raises(PluginError, match=r"stages\.0\.blocks holds the buffer '.*bn\..*'"):
        take_out_blocks(model, levit.stages)


@pytest.mark.parametrize(
    ("name", "text", "full"),
    [
        ("swin_tiny_patch4_window7_224", "6", (2, 2, 6, 2)),
        ("swin_small_patch4_window7_224", "6", (2, 2, 6, 2)),
        ("swin_small_patch4_window7_224", "3:2:18:1", (3, 2, 18, 1)),
        ("swinv2_tiny_window8_256", "12", (2, 2, 12, 2)),
        ("convnext_tiny", "27", (3, 3, 27, 3)),
        ("swin_2_stages", "3", (2, 3)),
        ("deit3_large_patch16_224", "6", (6,)),
    ],
)
def test_one_number_sets_the_deepest_stage(name, text, full):
    backbone = plugin_manager.get_backbone(name)
    assert complete_depth(parse_depths(text)[0], backbone.usual_depth, name) == full
    keyword = timm_call(backbone, {}, parse_depths(text)[0], 10).arguments[backbone.depth_argument]
    assert keyword == (full if len(full) > 1 else full[0])


def test_one_number_sets_the_third_stage_of_a_swin_that_is_shallow_there(metadata_of):
    gene = aux_net_of(metadata_of, "swin", DEEP_SWIN, 32, (2, 2, 1, 2)).learngene()
    assert [len(layer.blocks) for layer in expanded_model(gene, (4,)).layers] == [2, 2, 4, 2]


@pytest.mark.parametrize("text", ["2:2:0:2", "0:2:6:2", "0"])
def test_a_stage_of_no_blocks_is_refused_in_words(text):
    with pytest.raises(ConfigError, match=f"'{text}': a depth is a number from 1"):
        parse_depths(text)


@pytest.mark.parametrize("depth", [(2, 2, 0, 2), (2, 2, -1, 2), (0,)])
def test_a_stage_of_no_blocks_is_refused_in_the_library_too(metadata_of, depth):
    with pytest.raises(ConfigError, match=r"a stage has at least 1 block"):
        timm_call(plugin_manager.get_backbone("swin"), {}, depth, 10)
    gene = aux_net_of(metadata_of, "swin", DEEP_SWIN, 32, (1, 1, 1, 1)).learngene()
    with pytest.raises(ConfigError, match=r"a stage has at least 1 block"):
        expand(gene, depth)
