"""fit then expand: what lies on the basis comes back, what doesn't is met as nearly as algebra can."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.fit import block_counts, fit

BASES = ["constant", "linear", "polynomial:2", "piecewise:3", "hat:3", "cosine:3"]


@pytest.mark.parametrize("basis", BASES)
@given(depth=st.integers(4, 16), seed=st.integers(0, 1000))
def test_a_network_on_the_basis_comes_back(make_learngene, basis, depth, seed):
    before = make_learngene(basis, (depth,), seed)
    network = expand(before, depth)
    fitted = fit(network, before.stages, before.basis, before.metadata)
    again = expand(fitted.learngene, depth)
    assert set(again) == set(network)
    for name, tensor in network.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=1e-6 * max(1, float(tensor.abs().max())))
    largest = max(float(tensor.abs().max()) for tensor in network.values())
    for one in fitted.stacks:  # what is left is the rounding of float32, however little the layers vary
        assert one.left <= 1e-9 * one.variation + one.numbers * depth * (largest * 2**-23) ** 2
        assert one.r2 is None or one.r2 > 0.999


def test_its_learngene_is_found_too_and_grows_to_other_depths(make_learngene):
    before = make_learngene("linear", (12,))
    fitted = fit(expand(before, 12), before.stages, before.basis, before.metadata).learngene
    for name, theta in before.theta.items():
        torch.testing.assert_close(fitted.theta[name], theta, rtol=0, atol=1e-5)
    assert torch.equal(fitted.shared["head.weight"], before.shared["head.weight"])
    assert len(expand(fitted, 30)) == 30 * len(before.theta) + 1


def test_every_stage_has_its_own_learngene(make_learngene):
    before = make_learngene("linear", (2, 3, 6))
    fitted = fit(expand(before, (2, 3, 6)), before.stages, before.basis, before.metadata)
    assert {one.stage: one.random for one in fitted.stacks} == pytest.approx(
        {"layers.0.blocks": 1.0, "layers.1.blocks": 0.5, "layers.2.blocks": 0.2}
    )


def random_network(make_learngene, depth: int = 12, kind: torch.dtype = torch.float32):
    like = make_learngene("linear", (depth,))
    random = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(tensor.shape, generator=random).to(kind) for name, tensor in expand(like, depth).items()
    }
    return weights, like


@pytest.mark.parametrize("basis", BASES)
def test_no_other_theta_is_nearer(make_learngene, basis):
    weights, like = random_network(make_learngene)
    fitted = fit(weights, like.stages, get_basis(basis), like.metadata)
    for one in fitted.stacks:
        theta = fitted.learngene.theta[one.name].double().requires_grad_()
        matrix = get_basis(basis).matrix(12)
        layers = torch.stack([weights[one.name.replace("*", str(n))].double() for n in range(12)])
        left = (layers - torch.tensordot(matrix, theta, 1)).square().sum()
        left.backward()
        assert float(left.detach()) == pytest.approx(one.left, rel=1e-5)
        assert theta.grad.abs().max() < 1e-4


def test_random_layers_are_met_as_chance_says(make_learngene):
    weights, like = random_network(make_learngene)
    weights |= {f"blocks.{n}.attn.qkv.weight": torch.randn(100, 100) for n in range(12)}
    fitted = fit(weights, like.stages, get_basis("linear"), like.metadata)
    found = next(one for one in fitted.stacks if one.name == "blocks.*.attn.qkv.weight")
    assert found.random == pytest.approx(1 / 11)
    assert found.r2 == pytest.approx(1 / 11, abs=0.02)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(make_learngene, kind):
    weights, like = random_network(make_learngene, kind=kind)
    learngene = fit(weights, like.stages, get_basis("linear"), like.metadata).learngene
    assert {tensor.dtype for tensor in (*learngene.theta.values(), *learngene.shared.values())} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks.3.norm1.weight": torch.ones(5)}, ["blocks.", "norm1.weight is not in every block"]),
        ({"blocks.3.extra": torch.ones(5)}, ["blocks.3.extra is not in every block"]),
        ({"blocks.3.scale": torch.tensor(float("nan"))}, ["blocks.3.scale holds NaN or Inf"]),
        ({f"blocks.{n}.scale": torch.tensor(1) for n in range(12)}, ["scale holds int64"]),
    ],
)
def test_blocks_that_cannot_be_fitted_are_named(make_learngene, change, words):
    weights, like = random_network(make_learngene)
    with pytest.raises(FileFormatError) as caught:
        fit({**weights, **change}, like.stages, get_basis("linear"), like.metadata)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_block_is_named(make_learngene):
    weights, like = random_network(make_learngene)
    holes = {name: tensor for name, tensor in weights.items() if not name.startswith("blocks.4.")}
    with pytest.raises(FileFormatError, match="have the blocks 0 to 11"):
        fit(holes, like.stages, get_basis("linear"), like.metadata)


def test_more_thetas_than_blocks_are_refused(make_learngene):
    weights, like = random_network(make_learngene, depth=2)
    with pytest.raises(ConfigError, match=r"hat:3 has 3 thetas, but blocks has 2 blocks"):
        fit(weights, like.stages, get_basis("hat:3"), like.metadata)


def test_blocks_are_counted_by_their_numbers():
    assert block_counts(
        ["layers.0.blocks.0.x", "layers.0.blocks.1.x", "layers.1.y"], ("layers.0.blocks", "layers.1.blocks")
    ) == (2, 0)
