"""Statistics of one tensor, against numpy's, for every dtype and for numbers that are none."""

import math

import numpy as np
import pytest
import torch

from tleg_cli.inspect.statistics import BINS, statistics


@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.uint8]
)
def test_moments_are_those_of_numpy(kind):
    tensor = (torch.randn(40, 30, generator=torch.Generator().manual_seed(0)) * 10 + 100).to(kind)
    values, found = tensor.double().numpy(), statistics(tensor)
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std())
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.norm == pytest.approx(np.linalg.norm(values))
    assert found.spectral_norm == pytest.approx(np.linalg.norm(values, 2))
    assert (found.nan, found.inf, sum(found.histogram), len(found.histogram)) == (0, 0, 1200, BINS)


def test_effective_rank_runs_from_one_to_the_smaller_side():
    assert statistics(torch.outer(torch.randn(9), torch.randn(7))).effective_rank == pytest.approx(1, abs=1e-5)
    assert statistics(torch.eye(5, 8)).effective_rank == pytest.approx(5)


def test_a_convolution_is_a_matrix_of_its_first_dimension():
    tensor = torch.randn(6, 3, 4, 4)
    assert statistics(tensor).spectral_norm == pytest.approx(
        float(torch.linalg.matrix_norm(tensor.reshape(6, -1), 2)), rel=1e-5
    )


def test_nan_and_inf_are_counted_and_left_out():
    tensor = torch.tensor([[1.0, float("nan")], [float("inf"), 3.0], [float("-inf"), float("nan")]])
    found = statistics(tensor)
    assert (found.nan, found.inf, found.mean, found.max) == (2, 2, 2.0, 3.0)
    assert found.spectral_norm is None
    assert sum(found.histogram) == 2
    assert statistics(torch.full((3,), float("nan"))).mean is None


@pytest.mark.parametrize("tensor", [torch.ones(0), torch.ones(0, 4), torch.ones(4, 0)])
def test_empty_tensors_have_no_numbers(tensor):
    found = statistics(tensor)
    assert (found.mean, found.norm, found.histogram) == (None, None, ())


def test_scalars_equal_numbers_and_complex_ones():
    assert statistics(torch.tensor(3.0)).histogram == (1,)
    assert statistics(torch.zeros(4, 4)).effective_rank is None
    assert statistics(torch.tensor([3 + 4j])).norm == pytest.approx(5)
    assert statistics(torch.tensor([True, False])).mean == 0.5


@pytest.mark.parametrize("size", [1e300, 1e-300, 1e38])
def test_squares_neither_overflow_nor_vanish(size):
    tensor = torch.eye(3, dtype=torch.float64) * size
    found = statistics(tensor)
    assert found.spectral_norm == pytest.approx(size)
    assert found.effective_rank == pytest.approx(3)
    assert sum(found.histogram) == 9
    assert math.isfinite(found.mean)


def test_a_tensor_is_left_as_it_is():
    tensor = torch.randn(5, 5, dtype=torch.float64)
    before = tensor.clone()
    statistics(tensor)
    assert torch.equal(tensor, before)
