"""The network of `--train coefficients`: at the start the expanded network, in every family; only what it says is trained."""

from pathlib import Path

import pytest
import torch

from tests.plugins.test_families import FAMILIES, NAMES, aux_net_of, pictures
from tleg_cli import plugin_manager
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.build import build_model
from tleg_cli.models.coefficient_net import new_coefficient_net, plain_size, plain_weights, vectors_of_norms
from tleg_cli.models.descendant import expanded_model

ENDS = {"vit": {"norm1", "norm2"}, "deit3": {"norm1", "norm2", "ls1", "ls2"}, "swin": {"norm1", "norm2"}}


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_before_the_first_step_it_is_the_expanded_network(metadata_of, name, options, size, depth, others):
    gene = aux_net_of(metadata_of, name, options, size, depth).learngene()
    for other in others:
        plain = expanded_model(gene, other).eval()
        size_of_plain = sum(parameter.numel() for parameter in plain.parameters())
        with torch.no_grad():
            expected = plain(pictures(size))
            net = new_coefficient_net(gene, other, plain).eval()
            torch.testing.assert_close(net(pictures(size)), expected, rtol=0, atol=1e-5)
        assert plain_size(net) == size_of_plain
        found = plain_weights(net)
        for key, value in expand(gene, other).items():
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=key)
        loaded = expanded_model(gene, other)
        loaded.load_state_dict(found, strict=True)


def test_gradients_reach_coefficients_norms_and_head_and_nothing_else(metadata_of):
    name, options, size, depth, _ = FAMILIES[NAMES.index("vit")]
    gene = aux_net_of(metadata_of, name, options, size, depth).learngene()
    net = new_coefficient_net(gene, (9,), expanded_model(gene, (9,)))
    net(pictures(size)).square().sum().backward()
    moved = {key for key, parameter in net.named_parameters() if parameter.grad is not None}
    assert moved == {key for key, parameter in net.named_parameters() if parameter.requires_grad}
    assert all(net.get_parameter(key).grad.abs().sum() > 0 for key in moved)
    assert {key.split(".")[0] for key in moved} == {"coefficients", "free", "skeleton"}
    assert {key for key in moved if key.startswith("skeleton")} == {
        "skeleton.fc_norm.weight", "skeleton.fc_norm.bias", "skeleton.head.weight", "skeleton.head.bias",
    }  # fmt: skip
    assert not gene.theta["blocks.*.attn.qkv.weight"].grad


def test_coefficients_and_norms_are_not_decayed(metadata_of):
    from timm.optim import param_groups_weight_decay

    name, options, size, depth, _ = FAMILIES[NAMES.index("vit")]
    gene = aux_net_of(metadata_of, name, options, size, depth).learngene()
    net = new_coefficient_net(gene, (3,), expanded_model(gene, (3,)))
    plain, decayed = param_groups_weight_decay(net, 0.05, no_weight_decay_list=net.no_weight_decay())
    assert (plain["weight_decay"], decayed["weight_decay"]) == (0.0, 0.05)
    assert [value is net.skeleton.get_parameter("head.weight") for value in decayed["params"]] == [True]


def test_the_share_that_the_docs_state_for_a_vit_s(metadata_of):
    backbone, depth = plugin_manager.get_backbone("deit_small_patch16_224"), (24,)
    gene = new_aux_net(backbone, get_basis("linear"), metadata_of((12,), backbone.name, {}, 224)).learngene()
    with torch.device("meta"):
        model = build_model(backbone, {}, depth, 1000)
    net = new_coefficient_net(gene, depth, model)
    head = 1000 * 384 + 1000
    trained = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    assert (trained - head, plain_size(net) - head) == (38_016, 42_958_464)
    page = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
    assert "38,016 of 42,958,464 parameters, 0.09 %" in page


@pytest.mark.parametrize("name", list(ENDS))
def test_norms_are_told_from_the_biases_of_matrices(metadata_of, name):
    _, options, size, depth, _ = FAMILIES[NAMES.index(name)]
    model = expanded_model(aux_net_of(metadata_of, name, options, size, depth).learngene(), depth)
    block = model.blocks[0] if hasattr(model, "blocks") else model.layers[0].blocks[0]
    assert {key.rpartition(".")[0] for key in vectors_of_norms(block)} == ENDS[name]
