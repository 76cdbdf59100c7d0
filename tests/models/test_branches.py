"""branch_ends: what a backbone declares is checked on the real network before the residual step is trusted."""

from dataclasses import replace

import pytest
import torch

from tests.plugins.test_families import FAMILIES, NAMES
from tleg_cli import plugin_manager
from tleg_cli.errors import PluginError
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models import branch_ends
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.branches import rule_for

VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")


@pytest.fixture
def declare(monkeypatch):
    """declare(*names): what the backbone `vit` says of itself, for this test."""
    real = plugin_manager.get_backbone
    branch_ends.branch_problem.cache_clear()

    def make(*names: str) -> None:
        monkeypatch.setattr(plugin_manager, "get_backbone", lambda name: replace(real(name), branch_ends=names))

    yield make
    branch_ends.branch_problem.cache_clear()


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_every_family_declares_them_rightly(name, options, size, depth, others):
    rule = rule_for(name, options, "ends", "scaled")
    assert rule.branch_ends == plugin_manager.get_backbone(name).branch_ends
    assert (rule.positions, rule.step) == ("ends", "scaled")


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_at_the_trained_depth_every_rule_gives_the_same_network_bitwise(name, options, size, depth, others):
    backbone = plugin_manager.get_backbone(name)
    metadata = Metadata(name, options, depth, 5, InputSpec(size, (0.5,) * 3, (0.5,) * 3, 1.0))
    torch.manual_seed(0)
    published = new_aux_net(backbone, get_basis("linear"), metadata).learngene()
    own = expand(published, depth)
    for positions in ("tleg", "ends"):
        for step in ("none", "scaled", "deeper", "1", "0.3"):
            other = expand(replace(published, expansion=rule_for(name, options, positions, step)), depth)
            assert all(torch.equal(own[key], value) for key, value in other.items())


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (ENDS[:3], "still changes its input"),  # a bias forgotten
        (ENDS[2:], "still changes its input"),  # a branch forgotten
        ((*ENDS, "mlp.fc1.weight"), "isn't the end of a branch"),  # scaled twice
        ((*ENDS, "norm2.weight"), "isn't the end of a branch"),
        (("attn.qkv.weight", "attn.qkv.bias", *ENDS[2:]), "still changes its input"),
        (("ls1.gamma", "ls2.gamma"), "has no 'ls1.gamma'"),
        ((*ENDS, "mlp.fc3.bias"), "has no 'mlp.fc3.bias'"),
    ],
)
def test_a_wrong_declaration_is_refused(declare, names, why):
    declare(*names)
    with pytest.raises(PluginError, match=why):
        rule_for("vit", VIT, "tleg", "scaled")


def test_without_a_declaration_there_is_no_step_and_the_published_rule_needs_none(declare):
    declare()
    with pytest.raises(PluginError, match="declares no branch_ends"):
        rule_for("vit", VIT, "tleg", "0.5")
    assert rule_for("vit", VIT, "tleg", "none") == PUBLISHED


def test_the_check_leaves_torchs_generator_alone(declare):
    declare(*ENDS)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    rule_for("vit", VIT, "tleg", "scaled")
    assert torch.equal(torch.random.get_rng_state(), before)
