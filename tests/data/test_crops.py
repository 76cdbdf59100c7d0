"""Crop and flip as functions of (seed, draw): the same numbers in Python and compiled, and torchvision's distribution."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.data import crops
from tleg_cli.data.crops import CropRule

NUMBERS = CropRule(0, (0.08, 1.0), (3 / 4, 4 / 3), 0.5).numbers()


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_box_lies_in_its_image(height, width, seed, draw):
    top, left, rows, columns = crops.random_box(height, width, seed, draw, NUMBERS)
    assert rows > 0
    assert columns > 0
    assert 0 <= top <= height - rows
    assert 0 <= left <= width - columns


def test_compiled_code_gives_the_same_numbers():
    from numba import njit
    from numba.extending import register_jitable

    import tleg_cli.data.ffcv.kernel  # noqa: F401  # makes the functions of crops compilable

    box, flipped = register_jitable(crops.random_box), register_jitable(crops.flipped)

    @njit
    def both(height, width, seed, draw, numbers):  # type: ignore[no-untyped-def]
        return box(height, width, seed, draw, numbers), flipped(seed, draw, numbers)

    random = np.random.default_rng(0)
    for _ in range(300):
        height, width, seed, draw = (int(random.integers(1, high)) for high in (900, 900, 2**31, 2**31))
        plain = crops.random_box(height, width, seed, draw, NUMBERS), crops.flipped(seed, draw, NUMBERS)
        assert both(height, width, seed, draw, NUMBERS) == plain


def test_the_distribution_is_torchvisions():
    from torchvision.transforms import RandomResizedCrop

    image = torch.empty(3, 375, 500)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    ours = np.array([crops.random_box(375, 500, 7, draw, NUMBERS) for draw in range(4000)])
    # means of top, left, height, width agree within four standard errors
    error = theirs.std(0) * np.sqrt(2 / 4000)
    assert (np.abs(theirs.mean(0) - ours.mean(0)) < 4 * error).all()
    assert (np.abs(theirs.std(0) - ours.std(0)) < 0.06 * theirs.std(0)).all()


def test_half_of_the_draws_are_mirrored():
    flips = [crops.flipped(3, draw, NUMBERS) for draw in range(4000)]
    assert abs(np.mean(flips) - 0.5) < 0.04
    never = CropRule(0, None, (1.0, 1.0), 0.0).numbers()
    assert not any(crops.flipped(3, draw, never) for draw in range(4000))
