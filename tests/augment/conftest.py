"""A photograph and harder images, as PIL and as a batch, not square so that height and width can't be confused."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from tleg_cli.augment.cpu import compiled
from tleg_cli.augment.layer import apply_all


def as_batch(images):
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


@pytest.fixture(scope="session")
def photographs():
    """Four crops of a photograph that ships with scikit-learn, 96 x 128 pixels."""
    whole = Image.fromarray(load_sample_image("flower.jpg"))
    return [whole.crop((left, 120, left + 256, 312)).resize((128, 96), Image.BICUBIC) for left in (100, 150, 200, 250)]


@pytest.fixture(scope="session")
def pictures(photographs):
    """Photographs, noise, a dull image, a constant one, two with two colours (far, next to each other), one almost constant."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (96, 128, 3))
    dull = random.integers(100, 141, (96, 128, 3))
    two = np.where(random.random((96, 128, 1)) < 0.3, 20, 200).repeat(3, 2)
    rare = np.full((96, 128, 3), 90)
    rare[:2, :60] = random.integers(0, 256, (2, 60, 3))
    near = random.integers(100, 102, (96, 128, 3))
    arrays = [noise, dull, np.full((96, 128, 3), 77), two, near, rare]
    return photographs + [Image.fromarray(array.astype(np.uint8)) for array in arrays]


@pytest.fixture(scope="session")
def batch(photographs):
    """Sixteen photographs as a batch: (16, 3, 96, 128) uint8."""
    return as_batch(photographs * 4)


@pytest.fixture(scope="session")
def to_tensor():
    """The function that makes a uint8 batch of PIL images."""
    return as_batch


@pytest.fixture(params=["torch", "compiled"])
def implementation(request, monkeypatch):
    """The rest of the test runs on one of the two implementations, whatever the size of the images."""
    if request.param == "torch":
        monkeypatch.setattr(compiled, "_kernel", lambda: None)
    elif importlib.util.find_spec("numba") is None:
        pytest.skip("needs numba, which comes with FFCV")
    else:
        monkeypatch.setattr(compiled, "SMALLEST", 1)
    return request.param


@pytest.fixture
def apply(implementation):
    """One layer of one implementation."""
    return lambda images, choice, fill: apply_all(images, [choice], fill)
