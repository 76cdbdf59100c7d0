"""`synthetic`: the same images everywhere, with no file anywhere."""

import numpy as np
import pytest
import torch

from tests.data.conftest import prepare
from tleg_cli.config import AugmentationSection, DataSection
from tleg_cli.data.ffcv.sidecar import read_pair
from tleg_cli.data.open import open_eval_loader, open_train_loader
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError


@pytest.mark.parametrize(
    ("name", "images", "pixels", "classes"),
    [("synthetic", 10_000, 256, 1000), ("synthetic/70x24", 70, 24, 1000), ("synthetic/70x24x10", 70, 24, 10)],
)
def test_the_name_says_how_many_images_of_what_size(name, images, pixels, classes):
    source = open_source(name)
    train, val = source.train(), source.val()
    assert (len(train), len(val), len(source.classes)) == (images, images // 10, classes)
    image, label = train[13]
    assert image.size == (pixels, pixels)
    assert label == 13 % classes
    assert np.array_equal(np.asarray(image), np.asarray(open_source(name).train()[13][0]))


@pytest.mark.parametrize(
    "name", ["synthetic/", "synthetic/0x224", "synthetic/10", "synthetic/10x10x", "synthetic/axb", "synthetics"]
)
def test_other_names_are_refused_with_the_right_one(name):
    if name == "synthetic/":
        assert len(open_source(name).train()) == 10_000
        return
    with pytest.raises(DataError, match="synthetic"):
        open_source(name)


def test_the_loader_makes_what_the_source_shows():
    data = DataSection(path="synthetic/40x16x4", image_size=16, workers=2)
    loader = open_eval_loader(data, batch_size=3, rank=0, world=1, split="train")
    images, labels = (torch.cat(part) for part in zip(*loader.epoch(0), strict=True))
    split = open_source("synthetic/40x16x4").train()
    assert labels.tolist() == [number % 4 for number in range(40)]
    for number in range(40):
        assert np.array_equal(images[number].permute(1, 2, 0).numpy(), np.asarray(split[number][0]))


def test_training_batches_are_complete_shuffled_and_reproducible():
    data = DataSection(path="synthetic/40x16x4", image_size=8, workers=0)

    def labels(rank: int, world: int, epoch: int = 0) -> list[int]:
        loader = open_train_loader(data, AugmentationSection(), batch_size=8 // world, seed=1, rank=rank, world=world)
        return [
            label for images, batch in loader.epoch(epoch) for label in batch.tolist() if images.shape[2:] == (8, 8)
        ]

    assert len(labels(0, 1)) == 40
    assert labels(0, 1) == labels(0, 1)
    assert labels(0, 1) != labels(0, 1, epoch=1)
    halves = [labels(rank, 2) for rank in range(2)]
    assert sorted(halves[0] + halves[1]) == sorted(labels(0, 1))


def test_prepare_writes_it(tmp_path):
    train, val = read_pair(prepare("synthetic/30x80x3", tmp_path))
    assert (train.samples, val.samples, train.classes, train.write_mode) == (30, 3, ("0", "1", "2"), "jpg")
