"""The rule beside the basis: positions and the residual step."""

from dataclasses import replace

import pytest
import torch

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.expansion import POSITIONS, PUBLISHED, Expansion, positions_at

ENDS = ("attn.qkv.weight", "attn.qkv.bias")  # the fixture's stand-in for a branch's last layer
BASES = ("linear", "constant", "polynomial:2", "piecewise:3", "hat:3", "hat:6", "cosine:4")


@pytest.mark.parametrize("step", ["none", "scaled", "0.5", "1", "2"])
@pytest.mark.parametrize("positions", ["tleg", "ends"])
@pytest.mark.parametrize("basis", BASES)
def test_at_the_trained_depth_nothing_changes_bit_by_bit(make_learngene, basis, positions, step):
    for depth in ((12,), (7,), (1,), (2, 6)):
        gene = make_learngene(basis, depth)
        ruled = replace(gene, expansion=Expansion(positions, step, ENDS))
        published = expand(gene, depth)
        assert all(torch.equal(weight, published[name]) for name, weight in expand(ruled, depth).items())


@pytest.mark.parametrize("depth", [1, 2, 5, 12, 24])
def test_published_is_tlegs_formula(make_learngene, depth):
    gene = make_learngene("linear", (12,))
    assert gene.expansion == PUBLISHED
    weights = expand(gene, depth)
    theta_b, theta_a = gene.theta["blocks.*.attn.qkv.weight"]
    for block in range(depth):
        expected = torch.add(theta_b, theta_a, alpha=block / depth) if block else theta_b
        assert torch.equal(weights[f"blocks.{block}.attn.qkv.weight"], expected)


@pytest.mark.parametrize(
    ("step", "depth", "factor"),
    [
        ("scaled", 24, 0.5),
        ("scaled", 3, 2.0),
        ("1", 6, 2.0),
        ("0.5", 48, 0.5),
        ("0", 24, 1.0),
        ("none", 24, 1.0),
        ("2", 24, 0.25),
    ],
)
def test_the_step_scales_branch_ends_weight_and_bias_and_nothing_else(make_learngene, step, depth, factor):
    gene = make_learngene("linear", (12,))
    plain, scaled = expand(gene, depth), expand(replace(gene, expansion=Expansion("tleg", step, ENDS)), depth)
    for name, weight in plain.items():
        expected = weight * factor if name.endswith(ENDS) else weight
        assert torch.allclose(scaled[name], expected, rtol=1e-6, atol=0), name


@pytest.mark.parametrize(
    ("basis", "depth", "steps"),
    [
        ("piecewise:4", 4, [1, 1, 1, 1]),
        ("piecewise:4", 2, [1, 1]),
        ("piecewise:4", 5, [0.5, 0.5, 1, 1, 1]),
        ("piecewise:4", 8, [0.5] * 8),
        ("piecewise:4", 12, [1 / 3] * 12),
        ("ranked:1-0-3-2", 6, [1, 1, 0.5, 0.5, 0.5, 0.5]),
        ("ranked:1-0-3-2", 8, [0.5, 0.5, 1, 1 / 3, 1 / 3, 1 / 3, 0.5, 0.5]),
        ("piecewise:2", 8, [0.5] * 8),  # the trained network takes each twice, and so does one of 4 blocks
        ("piecewise:2", 2, [1, 1]),
        ("constant", 8, [0.5] * 8),
    ],
)
def test_repeated_blocks_share_the_step_of_one(make_learngene, basis, depth, steps):
    gene = make_learngene(basis, (4,))
    plain, shared = expand(gene, depth), expand(replace(gene, expansion=Expansion("tleg", "repeats", ENDS)), depth)
    for name, weight in plain.items():
        factor = steps[int(name.split(".")[1])] if name.endswith(ENDS) else 1
        assert torch.allclose(shared[name], weight * factor, rtol=1e-6, atol=0), name


def test_repeats_are_counted_for_each_stage_also_where_one_has_fewer_blocks_than_the_basis(make_learngene):
    gene = replace(make_learngene("piecewise:6", (2, 6)), expansion=Expansion("tleg", "repeats", ENDS))
    plain, shared = expand(replace(gene, expansion=PUBLISHED), (3, 7)), expand(gene, (3, 7))
    for stage, steps in ((0, [0.5, 0.5, 1]), (1, [0.5, 0.5, 1, 1, 1, 1, 1])):
        for block, step in enumerate(steps):
            name = f"layers.{stage}.blocks.{block}.attn.qkv.weight"
            assert torch.equal(shared[name], plain[name] * step), name


@pytest.mark.parametrize("basis", ["linear", "hat:3", "cosine:4", "polynomial:2"])
def test_repeats_of_a_basis_that_mixes_blocks_are_refused(make_learngene, basis):
    gene = replace(make_learngene(basis, (4,)), expansion=Expansion("tleg", "repeats", ENDS))
    with pytest.raises(
        ConfigError, match=r"repeats needs a basis that takes blocks one by one .*; use step: 1 or scaled"
    ):
        expand(gene, 8)


def test_each_stage_has_a_step_of_its_own(make_learngene):
    gene = replace(make_learngene("constant", (2, 6)), expansion=Expansion("tleg", "1", ENDS))
    weights = expand(gene, (4, 6))
    theta = gene.theta["layers.0.blocks.*.attn.qkv.weight"][0], gene.theta["layers.1.blocks.*.attn.qkv.weight"][0]
    assert torch.equal(weights["layers.0.blocks.3.attn.qkv.weight"], theta[0] * 0.5)
    assert torch.equal(weights["layers.1.blocks.3.attn.qkv.weight"], theta[1])


@pytest.mark.parametrize("depth", [2, 3, 7, 12, 30])
@pytest.mark.parametrize("basis", BASES)
def test_ends_runs_from_the_first_trained_block_to_the_last_at_every_depth(make_learngene, basis, depth):
    gene = make_learngene(basis, (12,))
    trained, weights = expand(gene, 12), expand(replace(gene, expansion=Expansion("ends")), depth)
    for name in ("attn.qkv.weight", "norm1.weight"):
        assert torch.allclose(weights[f"blocks.0.{name}"], trained[f"blocks.0.{name}"])
        assert torch.allclose(weights[f"blocks.{depth - 1}.{name}"], trained[f"blocks.11.{name}"], atol=1e-6)


def test_positions():
    assert positions_at("tleg", 4, 12).tolist() == [0, 0.25, 0.5, 0.75]
    assert positions_at("unit", 3, 12).tolist() == [0, 0.5, 1]
    assert positions_at("ends", 3, 4).tolist() == [0, 0.375, 0.75]
    for rule in POSITIONS:
        assert positions_at(rule, 1, 6).tolist() == [0]


@pytest.mark.parametrize("step", ["", "Scaled", "Repeats", "-1", "nan", "inf", "5", "0.5x", "none "])
def test_a_step_that_cant_be_is_refused(step):
    with pytest.raises(ConfigError, match="write none, scaled"):
        Expansion("tleg", step)


def test_positions_that_cant_be_are_refused():
    with pytest.raises(ConfigError, match="tleg, ends, unit"):
        Expansion("middle")


def test_a_plugins_basis_without_positions_has_tlegs_only(make_learngene):
    linear = get_basis("linear")
    own = Basis("own", 2, linear.matrix, (False, True))
    gene = replace(make_learngene("linear"), basis=own)
    assert torch.equal(expand(gene, 5)["blocks.1.scale"], expand(make_learngene("linear"), 5)["blocks.1.scale"])
    with pytest.raises(ConfigError, match="l / L only"):
        expand(replace(gene, expansion=Expansion("ends")), 5)
