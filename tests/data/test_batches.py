"""The order of an epoch: who gets which image, for any number of processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.data.batches import INDEX_BITS, INDEX_MASK, Order, batches_per_epoch, epoch_order, eval_order
from tleg_cli.errors import DataError


@given(samples=st.integers(0, 200), world=st.integers(1, 9), batch_size=st.integers(1, 40))
def test_evaluation_shows_every_image_exactly_once(samples, world, batch_size):
    seen = [
        code
        for rank in range(world)
        for batch in eval_order(samples, rank=rank, world=world, batch_size=batch_size)
        for code in batch.tolist()
    ]
    assert sorted(seen) == list(range(samples))


@given(samples=st.integers(1, 200), most=st.integers(1, 200), batch_size=st.integers(1, 40))
def test_a_sample_holds_different_images_from_all_of_the_split_and_is_always_the_same(samples, most, batch_size):
    order = Order(samples, batch_size, 0, 1, 0, None, most)
    seen = [code for batch in order(0) for code in batch.tolist()]
    assert len(seen) == len(set(seen)) == min(most, samples)
    assert set(seen) <= set(range(samples))
    assert seen == [code for batch in order(1) for code in batch.tolist()]


def test_a_sample_of_a_sorted_folder_has_images_of_every_class():
    classes = np.arange(1000) // 100  # ten folders of a hundred images
    (drawn,) = Order(1000, 128, 0, 1, 0, None, 128)(0)
    assert np.bincount(classes[drawn]).min() >= 5


@given(samples=st.integers(32, 300), epoch=st.integers(0, 5), seed=st.integers(0, 9))
def test_an_epoch_is_a_permutation_cut_into_complete_batches(samples, epoch, seed):
    order = epoch_order(samples, seed=seed, epoch=epoch, batch_size=32, rank=0, world=1)
    images = (order & INDEX_MASK).ravel()
    assert order.shape == (samples // 32, 32)
    assert len(set(images.tolist())) == len(images)
    assert images.max() < samples


@pytest.mark.parametrize("repeats", [1, 2, 3])
@pytest.mark.parametrize(("world", "batch_size"), [(2, 16), (4, 8)])
def test_more_processes_see_the_same_global_batches(world, batch_size, repeats):
    """The same images with the same draws in every step; with repeats a rank's share of them may stand elsewhere."""

    def order(rank: int, world: int, batch_size: int) -> np.ndarray:
        return epoch_order(100, seed=3, epoch=2, batch_size=batch_size, rank=rank, world=world, repeats=repeats)

    alone = order(0, 1, 32)
    together = np.concatenate([order(rank, world, batch_size) for rank in range(world)], axis=1)
    assert alone.shape == together.shape
    assert (np.sort(together, axis=1) == np.sort(alone, axis=1)).all()
    if repeats == 1:
        assert (together == alone).all()


def test_epochs_and_seeds_differ_but_are_repeatable():
    def order(**changed: int) -> np.ndarray:
        return epoch_order(64, **{"seed": 0, "epoch": 0, "batch_size": 64, "rank": 0, "world": 1, **changed})

    assert (order() == order()).all()
    assert (order(epoch=1) != order()).any()
    assert (order(seed=1) != order()).any()


def test_draws_never_repeat_in_neighbouring_epochs():
    draws = [
        (epoch_order(96, seed=0, epoch=epoch, batch_size=32, rank=0, world=1) >> INDEX_BITS).ravel().tolist()
        for epoch in range(4)
    ]
    assert len({draw for epoch in draws for draw in epoch}) == 4 * 96


def test_repeated_augmentation_shows_an_image_again_with_another_draw_on_another_process():
    parts = [epoch_order(512, seed=0, epoch=0, batch_size=32, rank=rank, world=2, repeats=2) for rank in range(2)]
    images = [part & INDEX_MASK for part in parts]
    assert (images[0] == images[1]).all()
    assert ((parts[0] >> INDEX_BITS) != (parts[1] >> INDEX_BITS)).all()
    assert batches_per_epoch(512, batch_size=32, world=2, repeats=2) == len(parts[0]) == 8


def test_fewer_images_than_one_global_batch_are_refused():
    with pytest.raises(
        DataError, match=r"31 training images are fewer than one global batch of 32 \(16 on each of 2 processes\)"
    ):
        epoch_order(31, seed=0, epoch=0, batch_size=16, rank=0, world=2)
