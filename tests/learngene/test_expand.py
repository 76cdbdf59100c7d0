"""The formula: every tensor, every depth, and nothing else touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.expand import expand

BASES = ["constant", "linear", "polynomial:3", "piecewise:3", "hat:4"]


@pytest.mark.parametrize("depth", range(1, 25))
def test_a_block_is_theta_b_plus_l_over_L_theta_a(make_learngene, depth):
    learngene = make_learngene("linear")
    weights = expand(learngene, depth)
    for name, theta in learngene.theta.items():
        for block in range(depth):
            expected = theta[0].double() + (block / depth) * theta[1].double()
            found = weights[name.replace("*", str(block))]
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


@given(depth=st.integers(1, 24), seed=st.integers(0, 2**31), basis=st.sampled_from(BASES))
def test_every_basis_is_its_matrix_times_theta(make_learngene, depth, seed, basis):
    learngene = make_learngene(basis, seed=seed)
    weights = expand(learngene, (depth,))
    matrix = learngene.basis.matrix(depth)
    for name, theta in learngene.theta.items():
        expected = torch.einsum("lk,k...->l...", matrix, theta.double())
        found = torch.stack([weights[name.replace("*", str(block))] for block in range(depth)])
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=2e-6)


@given(depth=st.integers(1, 24))
def test_nothing_is_missing_and_nothing_is_left_over(make_learngene, depth):
    learngene = make_learngene()
    expected = set(learngene.shared) | {name.replace("*", str(b)) for name in learngene.theta for b in range(depth)}
    assert set(expand(learngene, depth)) == expected


def test_the_first_block_is_theta_b_bit_for_bit_and_no_view_of_it(make_learngene):
    learngene = make_learngene()
    first = expand(learngene, 6)["blocks.0.attn.qkv.weight"]
    theta_b = learngene.theta["blocks.*.attn.qkv.weight"][0]
    assert torch.equal(first, theta_b)
    assert first.data_ptr() != theta_b.data_ptr()


def test_shared_tensors_are_passed_on(make_learngene):
    learngene = make_learngene()
    assert expand(learngene, 6)["head.weight"] is learngene.shared["head.weight"]


def test_each_stage_counts_its_own_blocks(make_learngene):
    learngene = make_learngene(depth=(2, 2, 6, 2))
    weights = expand(learngene, (1, 2, 4, 3))
    for stage, blocks in enumerate((1, 2, 4, 3)):
        theta_b, theta_a = learngene.theta[f"layers.{stage}.blocks.*.norm1.weight"]
        for block in range(blocks):
            expected = theta_b + block / blocks * theta_a
            torch.testing.assert_close(weights[f"layers.{stage}.blocks.{block}.norm1.weight"], expected)
    assert "layers.0.blocks.1.norm1.weight" not in weights


def test_one_number_sets_the_deepest_stage(make_learngene):
    learngene = make_learngene(depth=(2, 2, 6, 2))
    assert set(expand(learngene, 4)) == set(expand(learngene, (2, 2, 4, 2)))


def test_another_number_of_stages_is_refused(make_learngene):
    with pytest.raises(ConfigError, match="2:2 has 2 stages"):
        expand(make_learngene(), (2, 2))


@pytest.mark.parametrize("basis", BASES)
def test_gradients_are_those_of_the_formula(make_learngene, basis):
    """d(sum of all blocks) / d theta_k is the sum of column k of the basis."""
    learngene = make_learngene(basis)
    for theta in learngene.theta.values():
        theta.requires_grad_()
    weights = expand(learngene, 5)
    sum(weights[name.replace("*", str(b))].sum() for name in learngene.theta for b in range(5)).backward()
    columns = learngene.basis.matrix(5).sum(0).float()
    for name, theta in learngene.theta.items():
        expected = columns.view(-1, *[1] * (theta.ndim - 1)).expand_as(theta)
        torch.testing.assert_close(theta.grad, expected, msg=name)


def test_autocast_does_not_round_the_weights(make_learngene):
    learngene = make_learngene()
    plain = expand(learngene, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = expand(learngene, 7)
    assert all(torch.equal(plain[name], cast[name]) for name in plain)
