"""Linearity on made cases, where the truth is known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.gram import (
    expected_r_squared,
    gram,
    principal,
    r_squared,
    shuffled_r_squared,
    shuffles,
    theta_products,
)

LINEAR = get_basis("linear")


def on_a_line(layers: int, numbers: int = 300, seed: int = 0) -> list[torch.Tensor]:
    start, slope = torch.randn(2, numbers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [start + layer / layers * slope for layer in range(layers)]


def random(layers: int, numbers: int = 4000, seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(layers, numbers, generator=torch.Generator().manual_seed(seed)))


@given(layers=st.integers(3, 30), seed=st.integers(0, 1000))
def test_weights_on_a_line_have_an_r_squared_of_one(layers, seed):
    assert r_squared(gram(on_a_line(layers, seed=seed)), LINEAR.matrix(layers)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("layers", [3, 6, 12, 24])
@pytest.mark.parametrize("name", ["linear", "polynomial:2", "piecewise:3", "hat:3"])
def test_random_layers_give_what_is_expected_of_them(layers, name):
    matrix = get_basis(name).matrix(layers)
    expected = (get_basis(name).rank - 1) / (layers - 1)
    assert expected_r_squared(matrix) == pytest.approx(expected)
    found = [r_squared(gram(random(layers, seed=seed)), matrix) for seed in range(20)]
    spread = (
        2 * expected * (1 - expected) / ((layers + 1) * 4000)
    ) ** 0.5 + 1e-9  # of a beta variable over 4000 numbers
    assert sum(found) / len(found) == pytest.approx(expected, abs=5 * spread + 1e-3)


@pytest.mark.parametrize("layers", [6, 12])
def test_shuffled_layers_fall(layers):
    of = gram(on_a_line(layers))
    shuffled = shuffled_r_squared(of, [LINEAR.matrix(layers)])[:, 0]
    assert shuffled.mean() == pytest.approx(1 / (layers - 1), abs=0.05)
    assert (shuffled > 0.999).double().mean() < 0.01  # the order itself, and backwards
    order = torch.randperm(layers, generator=torch.Generator().manual_seed(3)).tolist()
    assert r_squared(gram([on_a_line(layers)[one] for one in order]), LINEAR.matrix(layers)) < 0.6


def test_all_orders_of_few_layers_and_some_of_many():
    assert len(shuffles(4)) == 24
    assert len(shuffles(12)) == 1000
    assert 20 <= len(shuffles(1000)) < 1000


def test_a_hat_fits_a_kink_that_linear_cannot():
    start, bend = torch.randn(2, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kinked = gram([start + abs(layer / 12 - 0.5) * bend for layer in range(12)])
    assert r_squared(kinked, get_basis("hat:3").matrix(12)) == pytest.approx(1)
    assert r_squared(kinked, LINEAR.matrix(12)) < 0.2


def test_steps_are_found_by_pieces():
    three = random(3)
    stepped = gram([three[layer * 3 // 12] for layer in range(12)])
    assert r_squared(stepped, get_basis("piecewise:3").matrix(12)) == pytest.approx(1)
    assert r_squared(stepped, get_basis("constant").matrix(12)) == pytest.approx(0, abs=1e-12)


def test_equal_layers_have_nothing_to_explain():
    one = torch.randn(100)
    assert r_squared(gram([one] * 6), LINEAR.matrix(6)) is None
    assert r_squared(gram([torch.zeros(5)] * 6), LINEAR.matrix(6)) is None


def test_grams_add_up_to_that_of_tensors_side_by_side():
    one, other = random(5, 70_000), random(5, 11, seed=1)
    both = gram([torch.cat(pair) for pair in zip(one, other, strict=True)])
    total = gram(one) + gram(other)
    torch.testing.assert_close(total.centred, both.centred)
    torch.testing.assert_close(total.norms(), both.norms())
    assert total.numbers == both.numbers


def test_products_norms_and_theta_are_those_of_plain_algebra():
    layers = random(7, 500)
    stacked = torch.stack(layers).double()
    of = gram(layers)
    torch.testing.assert_close(of.products(), stacked @ stacked.T)
    torch.testing.assert_close(of.norms(), stacked.norm(dim=1))
    matrix = LINEAR.matrix(7)
    theta = torch.linalg.lstsq(matrix, stacked).solution
    torch.testing.assert_close(theta_products(of, matrix), theta @ theta.T)
    left = (stacked - matrix @ theta).square().sum()
    total = (stacked - stacked.mean(0)).square().sum()
    assert r_squared(of, matrix) == pytest.approx(float(1 - left / total))


def test_a_large_common_part_cancels_nothing():
    layers = [1e4 + layer for layer in on_a_line(6)]
    assert r_squared(gram(layers), LINEAR.matrix(6)) == pytest.approx(1, abs=1e-9)


def test_principal_components_of_a_line_are_one_and_run_forwards():
    explained, places = principal(gram(on_a_line(8)))
    assert explained[0] == pytest.approx(1)
    assert (places[:, 0].diff() > 0).all()
    apart = places[:, 0].diff()
    torch.testing.assert_close(apart, apart[0].expand(7))
