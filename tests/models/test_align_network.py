"""--align on real networks: the logits stay, a wrong declaration is caught, and equal blocks in disguise are found to be equal."""

from dataclasses import replace

import pytest
import torch

from tests.plugins.test_families import FAMILIES
from tleg_cli import plugin_manager
from tleg_cli.errors import PluginError
from tleg_cli.hookspecs import BlockLayout
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models import align_network as module
from tleg_cli.models.align_network import align_network, layout_of
from tleg_cli.models.build import build_model
from tleg_cli.models.read_network import ReadNetwork

OPTIONS = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
ALIGNABLE = [family for family in FAMILIES if plugin_manager.get_backbone(family[0]).layout]
VARIANTS = [
    ("deit_distilled", OPTIONS, 8, (3,), ()),
    ("vit_timm", {**OPTIONS, "qk_norm": True}, 8, (3,), ()),
    ("vit_timm", {**OPTIONS, "qkv_bias": False, "init_values": 0.1, "pre_norm": True, "reg_tokens": 1}, 8, (3,), ()),
]


def network_of(name, options, size, depth, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    backbone = plugin_manager.get_backbone(name)
    model = build_model(backbone, options, depth, 5).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    metadata = Metadata(name, options, depth, 5, InputSpec(size, (0.5,) * 3, (0.5,) * 3, 1.0))
    return model.to(dtype), ReadNetwork(model.state_dict(), backbone.stages, metadata, True)


@pytest.mark.parametrize(
    ("name", "options", "size", "depth", "others"),
    ALIGNABLE + VARIANTS,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_logits_stay_and_the_weights_do_not(name, options, size, depth, others):
    model, network = network_of(name, options, size, depth)
    images = torch.randn(2, 3, size, size)
    aligned = align_network(network, get_basis("hat:2"))
    assert {key: tensor.shape for key, tensor in aligned.weights.items()} == {
        key: tensor.shape for key, tensor in network.weights.items()
    }
    assert aligned.metadata.provenance["aligned"] == "hat:2"
    with torch.no_grad():
        before = model(images)
        assert any(not torch.equal(aligned.weights[key], tensor) for key, tensor in network.weights.items())
        model.load_state_dict(aligned.weights, strict=True)
        torch.testing.assert_close(model(images), before, rtol=0, atol=1e-5)


def test_families_that_can_be_aligned():
    assert {family[0] for family in ALIGNABLE} == {
        "vit",
        "deit3",
        "beit",
        "swin",
        "swin_2_stages",
        "swinv2",
        "swinv2_2_stages",
    }
    with pytest.raises(PluginError, match=r"--align is not offered for eva02: .*leave --align out"):
        layout_of("eva02", {})


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (BlockLayout(mlp=("mlp.fc1", "mlp.fc3")), r"mlp = .*isn't made like that"),
        (BlockLayout(mlp=("attn.qkv", "attn.proj")), r"mlp = .*"),
        (BlockLayout(attention=("mlp.fc1", "mlp.fc2")), r"attention = .*isn't made like that"),
        (BlockLayout(norms=(("norm1", "mlp.fc1"),)), r"norms = .*changes the logits"),
    ],
)
def test_a_wrong_declaration_is_caught_on_the_network(monkeypatch, wrong, why):
    real = plugin_manager.get_backbone
    monkeypatch.setattr(plugin_manager, "get_backbone", lambda name: replace(real(name), layout=wrong))
    module._check.cache_clear()
    with pytest.raises(PluginError, match=f"layout of backbone vit: {why}"):
        layout_of("vit", OPTIONS)
    module._check.cache_clear()
