"""The skeleton: a network whose blocks are hollow, and still a network."""

import pytest
import timm
import torch
from torch import nn

from tleg_cli.errors import PluginError
from tleg_cli.models.aux_net import call_with
from tleg_cli.models.shells import take_out_blocks


@pytest.fixture
def vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=8, patch_size=4, embed_dim=16, num_heads=2, depth=3, num_classes=4
    )


def test_the_blocks_are_taken_out_and_everything_else_stays(vit):
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    taken = take_out_blocks(vit, ["blocks"])
    outside = vit.state_dict()
    inside = {
        f"blocks.{number}.{name}": value
        for number, block in enumerate(taken["blocks"])
        for name, value in block.items()
    }
    assert set(outside) == {name for name in before if not name.startswith("blocks.")}
    assert set(outside) | set(inside) == set(before)
    assert all(torch.equal(before[name], value) for name, value in (outside | inside).items())
    assert sum(p.numel() for p in vit.parameters()) == sum(value.numel() for value in outside.values())


def test_with_its_weights_back_it_is_the_same_network(vit, images):
    vit.eval()
    weights = {name: value.clone() for name, value in vit.state_dict().items()}
    with torch.no_grad():
        before = vit(images)
        take_out_blocks(vit, ["blocks"])
        assert torch.equal(call_with(vit, weights, images), before)


def test_nothing_stays_behind_after_a_forward_pass(vit, images):
    weights = dict(vit.state_dict())
    take_out_blocks(vit, ["blocks"])
    call_with(vit, weights, images)
    assert not [name for name, _ in vit.named_parameters() if name.startswith("blocks.")]


def test_without_weights_it_does_not_run(vit, images):
    take_out_blocks(vit, ["blocks"])
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        vit(images)


def test_it_follows_train_and_eval(make_aux_net):
    skeleton = make_aux_net(drop_rate=0.1).skeleton
    dropouts = [module for module in skeleton.modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) > 4
    for training in (True, False):
        skeleton.train(training)
        assert all(module.training is training for module in skeleton.modules())


def test_an_aux_net_hands_its_mode_to_the_blocks(make_aux_net):
    aux_net = make_aux_net()
    aux_net.train()
    assert all(module.training for module in aux_net.skeleton.blocks.modules())
    aux_net.eval()
    assert not any(module.training for module in aux_net.skeleton.blocks.modules())


def test_stored_buffers_are_refused_by_name():
    model = nn.Module()
    model.blocks = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    with pytest.raises(PluginError, match=r"blocks holds the buffer '1\.num_batches_tracked'"):
        take_out_blocks(model, ["blocks"])


def test_a_refused_model_is_left_as_it_was():
    model = nn.Module()
    model.blocks = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = set(model.state_dict())
    with pytest.raises(PluginError):
        take_out_blocks(model, ["blocks"])
    assert set(model.state_dict()) == before
