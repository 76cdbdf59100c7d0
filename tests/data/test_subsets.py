"""holdout/K/NAME and first/N:M/NAME: parts of another source, real images."""

import numpy as np
import pytest

from tleg_cli.config import DataSection
from tleg_cli.data.images_record import of_split
from tleg_cli.data.open import open_eval_loader
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError


def pixels(split):
    return [np.asarray(split[index][0]).tobytes() for index in range(len(split))]


def test_held_out_images_are_training_images_that_are_not_trained_on():
    whole, source = open_source("digits"), open_source("holdout/200/digits")
    train, val = source.train(), source.val()
    assert (len(train), len(val), source.classes) == (1097, 200, whole.classes)
    assert sorted(pixels(train) + pixels(val)) == sorted(pixels(whole.train()))
    assert not set(pixels(val)) & set(pixels(whole.val()))  # the test images are not touched
    assert pixels(val) == pixels(open_source("holdout/200/digits").val())  # the same ones every time
    assert (
        of_split(train)["sha256"]
        != of_split(val)["sha256"]
        != of_split(open_source("holdout/201/digits").val())["sha256"]
    )


def test_the_first_images_of_every_class():
    source = open_source("first/20:5/digits")
    labels = [source.train()[index][1] for index in range(len(source.train()))]
    assert sorted(labels) == sorted([*range(10)] * 20)
    whole = open_source("digits").train()
    ones = [index for index in range(len(whole)) if whole[index][1] == 1][:20]
    found = [source.train()[index] for index in range(200)]
    assert [np.asarray(image).tobytes() for image, label in found if label == 1] == [
        np.asarray(whole[index][0]).tobytes() for index in ones
    ]
    assert len(source.val()) == 50


def test_parts_of_parts_folders_and_loaders(photos):
    nested = open_source("holdout/30/first/20:5/digits")
    assert (len(nested.train()), len(nested.val())) == (170, 30)
    folder = open_source(f"holdout/4/{photos}")
    assert (len(folder.train()), len(folder.val())) == (20, 4)
    loader = open_eval_loader(
        DataSection(path="holdout/200/digits", image_size=8, workers=0), batch_size=64, rank=0, world=1
    )
    labels = np.concatenate([batch[1].numpy() for batch in loader.epoch(0)])
    split = open_source("holdout/200/digits").val()
    assert labels.tolist() == [split[index][1] for index in range(200)]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("holdout/digits", "write holdout/K/SOURCE, as in holdout/200/digits"),
        ("holdout/0/digits", "write holdout/K/SOURCE"),
        ("holdout/1297/digits", "has 1297 training images; hold out fewer"),
        ("holdout/200/digit", "Did you mean 'digits'"),
        ("first/20/digits", "write first/N:M/SOURCE"),
        ("first/500:5/digits", "images of class"),
    ],
)
def test_what_can_not_be_a_part_is_refused(path, words):
    def opened():
        source = open_source(path)
        return source.train(), source.val()

    with pytest.raises(DataError) as caught:
        opened()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
