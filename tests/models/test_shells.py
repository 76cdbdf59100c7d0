"""One aux net at several depths: each is the descendant of that depth, and only the blocks are built again."""

import pytest
import torch

from tests.plugins.test_families import FAMILIES, NAMES
from tleg_cli import plugin_manager
from tleg_cli.learngene.basis import get_basis
from tleg_cli.models.aux_net import AuxNet, new_aux_net
from tleg_cli.models.branches import rule_for
from tleg_cli.models.descendant import expanded_model

VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}


def any_depth(metadata_of, name, options, size, depth, others, **training) -> AuxNet:
    torch.manual_seed(0)
    rule = rule_for(name, options, "ends", "scaled")
    metadata = metadata_of(depth, name, options, size)
    network = new_aux_net(
        plugin_manager.get_backbone(name), get_basis("hat:3"), metadata, rule, (depth, *others), **training
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_at_each_depth_it_is_the_descendant_of_that_depth(metadata_of, name, options, size, depth, others):
    network = any_depth(metadata_of, name, options, size, depth, others)
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    for one in (depth, *others):
        with torch.no_grad():
            theirs = expanded_model(network.learngene(), one).eval()(images)
            torch.testing.assert_close(network(images, one), theirs, rtol=0, atol=1e-5)
    with torch.no_grad():  # and the first depth again: nothing was left behind
        torch.testing.assert_close(
            network(images), expanded_model(network.learngene(), depth).eval()(images), rtol=0, atol=1e-5
        )


def test_other_depths_add_no_weights_and_draw_nothing(metadata_of):
    torch.manual_seed(0)
    alone = new_aux_net(plugin_manager.get_backbone("vit"), get_basis("linear"), metadata_of((4,), "vit", VIT))
    after = torch.random.get_rng_state()
    torch.manual_seed(0)
    many = new_aux_net(
        plugin_manager.get_backbone("vit"),
        get_basis("linear"),
        metadata_of((4,), "vit", VIT),
        depths=[(2,), (4,), (9,)],
    )
    assert torch.equal(torch.random.get_rng_state(), after)
    assert all(torch.equal(value, many.state_dict()[name]) for name, value in alone.state_dict().items())
    assert set(many.state_dict()) == set(alone.state_dict())


def test_every_weight_has_a_gradient_at_every_depth_and_train_and_eval_reach_all_blocks(metadata_of):
    network = any_depth(metadata_of, "vit", VIT, 8, (4,), [(2,), (9,)], drop_path_rate=0.5)
    images = torch.randn(8, 3, 8, 8)
    for depth in ((2,), (4,), (9,)):
        assert torch.equal(network.eval()(images, depth), network(images, depth))
        network.train().zero_grad()
        assert not torch.equal(network(images, depth), network(images, depth))  # paths are dropped
        network(images, depth).sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_drop_path_grows_to_the_same_rate_at_every_depth(metadata_of):
    network = any_depth(metadata_of, "vit", VIT, 8, (4,), [(9,)], drop_path_rate=0.3)
    blocks = network.others["9"][0]
    assert len(blocks) == 9
    assert float(blocks[8].drop_path1.drop_prob) == pytest.approx(0.3)
