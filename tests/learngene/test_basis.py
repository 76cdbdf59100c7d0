"""Bases: each matrix says what its docstring says, at every depth."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.basis import Basis, basis_names, get_basis, positions

NAMES = [
    "constant",
    "linear",
    "polynomial:1",
    "polynomial:2",
    "polynomial:5",
    "piecewise:1",
    "piecewise:3",
    "hat:2",
    "hat:5",
    "cosine:1",
    "cosine:4",
]
WEIGHTS_OF_BLOCKS = [name for name in NAMES if name.startswith(("constant", "piecewise"))]
depths = st.integers(1, 40)


@pytest.mark.parametrize("name", NAMES)
@given(depth=depths)
def test_a_matrix_has_a_row_for_each_block_and_a_column_for_each_theta(name, depth):
    basis = get_basis(name)
    matrix = basis.matrix(depth)
    assert matrix.shape == (depth, basis.rank)
    assert matrix.dtype == torch.float64
    assert matrix.isfinite().all()
    assert matrix.abs().max() <= 1  # else fresh weights would be larger than a plain network's
    assert len(basis.directions) == basis.rank


@pytest.mark.parametrize("name", NAMES)
@given(depth=depths)
def test_the_first_block_is_the_first_theta(name, depth):
    first = torch.zeros(get_basis(name).rank, dtype=torch.float64)
    first[0] = 1
    assert torch.equal(get_basis(name).matrix(depth)[0], first)


@pytest.mark.parametrize("name", NAMES)
@given(depth=depths)
def test_equal_weights_stay_what_they_are(name, depth):
    """Where no theta is a direction, each block is a weighted mean: rows sum to 1 and hold nothing negative."""
    basis = get_basis(name)
    weights = basis.matrix(depth)[:, ~torch.tensor(basis.directions)]
    assert torch.allclose(weights.sum(1), torch.ones(depth, dtype=torch.float64))
    assert (weights >= 0).all()


@given(depth=depths)
def test_linear_is_one_and_l_over_L(depth):
    expected = torch.tensor([[1.0, block / depth] for block in range(depth)], dtype=torch.float64)
    assert torch.equal(get_basis("linear").matrix(depth), expected)


@given(depth=depths)
def test_polynomial_columns_are_powers(depth):
    expected = torch.stack([positions(depth) ** power for power in range(4)], 1)
    assert torch.equal(get_basis("polynomial:3").matrix(depth), expected)
    assert torch.equal(get_basis("polynomial:1").matrix(depth), get_basis("linear").matrix(depth))


@given(depth=depths)
def test_the_coefficient_never_reaches_one(depth):
    assert positions(depth)[0] == 0
    assert positions(depth).max() < 1


@pytest.mark.parametrize("name", WEIGHTS_OF_BLOCKS)
@given(depth=depths)
def test_a_shared_block_is_one_theta_and_pieces_come_in_order(name, depth):
    matrix = get_basis(name).matrix(depth)
    assert (matrix.max(1).values == 1).all()
    piece = matrix.argmax(1)
    assert (piece.diff() >= 0).all()


def test_pieces_split_the_depth_evenly():
    assert get_basis("piecewise:3").matrix(7).argmax(1).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert get_basis("piecewise:4").matrix(8).argmax(1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_hats_meet_their_knots():
    matrix = get_basis("hat:3").matrix(4)  # knots at 0, 1/2, 1; blocks at 0, 1/4, 1/2, 3/4
    assert matrix.tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]]


@pytest.mark.parametrize("knots", [2, 3, 6])
@given(depth=depths)
def test_hats_reproduce_a_straight_line(knots, depth):
    at_knots = torch.linspace(0, 1, knots, dtype=torch.float64)
    assert torch.allclose(get_basis(f"hat:{knots}").matrix(depth) @ at_knots, positions(depth))


@given(depth=depths)
def test_cosines_are_the_lowest_frequencies(depth):
    """Whatever of them a matrix of blocks holds, cosine:N holds too: a combination of cos(pi k l / L), k < N."""
    matrix = get_basis("cosine:4").matrix(depth)
    waves = torch.stack([torch.cos(torch.pi * frequency * positions(depth)) for frequency in range(4)], 1)
    coefficients = torch.tensor([2.0, -1.0, 0.5, 3.0], dtype=torch.float64)
    same = torch.cat([coefficients.sum()[None], 2 * coefficients[1:]])  # theta_0 is the first block
    assert torch.allclose(matrix @ same, waves @ coefficients)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("liner", ["'liner'", "Did you mean 'linear'"]),
        ("", ["unknown"]),
        ("linear:2", ["'linear:2' is unknown"]),
        ("polynomial:0", ["degree", "from 1 to 64"]),
        ("cosine:0", ["cosines", "from 1 to 64"]),
        ("hat:1", ["knots", "from 2 to 64"]),
        ("piecewise:99999999999", ["pieces", "64"]),
        ("piecewise:-1", ["whole number"]),
        ("polynomial:2.5", ["whole number"]),
        ("piecewise:²", ["whole number"]),
    ],
)
def test_unknown_bases_are_refused_by_name(name, words):
    with pytest.raises(ConfigError) as caught:
        get_basis(name)
    for word in words:
        assert word in str(caught.value)


def test_the_listed_names_work_and_a_size_may_be_left_out():
    for name in basis_names():
        assert get_basis(name).name == name
    assert get_basis("hat").name == "hat:3"


def test_bases_of_others_are_found_and_suggested():
    mine = Basis("halves", 1, lambda depth: torch.full((depth, 1), 0.5, dtype=torch.float64), (False,))
    assert get_basis("halves", [mine]) is mine
    with pytest.raises(ConfigError, match="halves"):
        get_basis("halfes", iter([mine]))  # an iterator: looked through once, and still suggested
