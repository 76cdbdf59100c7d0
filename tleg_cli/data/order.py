"""Which image stands where in an epoch: one order for every loader, a pure function of seed, epoch and rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tleg_cli.errors import DataError

SAMPLE_BITS = 32
SAMPLE_MASK = (1 << SAMPLE_BITS) - 1

Codes = NDArray[np.int64]


def epoch_order(
    samples: int, *, seed: int, epoch: int, batch_size: int, rank: int, world: int, repeats: int = 1
) -> Codes:
    """The batches of one rank in one training epoch, (batches, batch_size) codes: `draw << 32 | sample`.

    The seeded permutation is cut into whole global batches of batch_size * world images; rank r takes the r-th part of
    each, so that 1 process with batch 32 and 2 with 16 see the same global batches. The images that fill no global batch
    are left out of this epoch, other ones in every epoch. `draw` counts the positions of all epochs: crop and flip are
    functions of (seed, draw), whatever loader or number of workers reads them.

    repeats: repeated augmentation (Hoffer et al. 2020; timm's RepeatAugSampler): each image stands `repeats` times in a
    row, on neighbouring ranks, and the epoch is as long as without.
    Raises DataError for fewer images than one global batch.
    """
    batches = train_batches(samples, batch_size, world)
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    used = batches * batch_size * world
    if repeats == 1:
        places = order[:used].reshape(batches, world, batch_size)[:, rank]
    else:
        # copies of an image go to neighbouring ranks, as timm deals them out
        dealt = np.repeat(order, repeats)[:used]
        places = dealt.reshape(batches, batch_size, world)[:, :, rank]
    draws = np.arange(used, dtype=np.int64).reshape(batches, world, batch_size)[:, rank] + np.int64(epoch) * samples
    return (draws << SAMPLE_BITS) | places.astype(np.int64)


def train_batches(samples: int, batch_size: int, world: int) -> int:
    """Batches of one rank in an epoch. Raises DataError for fewer images than one global batch."""
    batches = samples // (batch_size * world)
    if batches == 0:
        raise DataError(
            f"{samples} training images are fewer than one global batch of {batch_size} x {world} processes; lower batch_size"
        )
    return batches


def eval_order(samples: int, *, batch_size: int, rank: int, world: int) -> list[Codes]:
    """The batches of one rank in an evaluation: over all ranks every image once, none twice; the last may be short."""
    mine = np.arange(rank, samples, world, dtype=np.int64)
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
