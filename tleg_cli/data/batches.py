"""What every loader gives, and the one order of an epoch: which image comes when, on which process, and with which random draw.

A coded id is one int64: the lower 32 bits are the image's index, the upper 31 the number of its draw. Crop and flip are functions of
(seed, draw), so that they are the same for any loader, number of workers or processes, and after a resume.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tleg_cli.errors import DataError

Codes = NDArray[np.int64]
Batch = tuple[Tensor, Tensor]  # uint8 (batch, 3, size, size), int64 (batch,); valid until the next one is asked for

INDEX_BITS = 32
INDEX_MASK = 0xFFFFFFFF
_DRAWS = 2**31  # draw numbers wrap around here: after 1600 epochs of ImageNet
_REPEATED_ROUND = 256  # what timm's RepeatAugSampler rounds an epoch down to


class Loader(Protocol):
    """Batches of one split, for one rank. Reproducible: a batch is a function of seed, epoch and position.

    samples: images of the split, over all ranks. batches: of this rank in an epoch.
    """

    samples: int
    batches: int

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """A generator of epoch `number`'s batches from the `start`-th on; closing it ends what works for it."""
        ...

    def close(self) -> None:
        """Ends worker processes and closes files."""
        ...


@dataclass(frozen=True)
class Order:
    """Which coded ids make the batches of an epoch on this rank. repeats: None for evaluation.

    most: of evaluation; of a split with more images, so many are drawn, always the same.
    """

    samples: int
    batch_size: int
    rank: int
    world: int
    seed: int
    repeats: int | None
    most: int | None = None

    def batches(self) -> int:
        """Of one epoch. Raises DataError for fewer training images than one global batch."""
        if self.repeats is None:
            return len(self(0))
        return batches_per_epoch(self.samples, batch_size=self.batch_size, world=self.world, repeats=self.repeats)

    def __call__(self, epoch: int) -> Sequence[Codes]:
        """The batches of one epoch."""
        ranks = {"batch_size": self.batch_size, "rank": self.rank, "world": self.world}
        if self.repeats is None:
            if self.most is not None and self.most < self.samples:
                return sample_order(self.samples, self.most, seed=self.seed, **ranks)
            return eval_order(self.samples, **ranks)
        return list(epoch_order(self.samples, seed=self.seed, epoch=epoch, repeats=self.repeats, **ranks))


def epoch_order(
    samples: int, *, seed: int, epoch: int, batch_size: int, rank: int, world: int, repeats: int = 1
) -> Codes:
    """Coded ids of one training epoch on one process: (batches, batch_size).

    The order is a permutation made of (seed, epoch) alone, cut into global batches of batch_size * world; a last partial one is left out.
    Each process takes its part of every global batch, so that 1 process x 32 and 2 x 16 see the same global batches.

    repeats: repeated augmentation (Hoffer et al. 2020) as in timm's RepeatAugSampler: each image comes `repeats` times in a row with
    different draws, on different processes if there are that many; an epoch has as many draws as without, rounded down to 256 and to
    complete global batches, so that it shows about samples / repeats images. Raises DataError if there is not one complete global batch.
    """
    batches = batches_per_epoch(samples, batch_size=batch_size, world=world, repeats=repeats)
    position = np.arange(batches * batch_size * world, dtype=np.int64)
    images = np.random.default_rng([seed, epoch]).permutation(samples)[position // repeats]
    draws = (epoch * samples + position) % _DRAWS
    codes = (draws << INDEX_BITS) | images
    if repeats > 1:  # every world-th, so that the repeats of one image are on different processes
        return np.ascontiguousarray(codes.reshape(batches, batch_size, world)[:, :, rank])
    return np.ascontiguousarray(codes.reshape(batches, world, batch_size)[:, rank])


def batches_per_epoch(samples: int, *, batch_size: int, world: int, repeats: int = 1) -> int:
    """How many batches each process gets in one epoch. Raises DataError if that is none."""
    global_batch = batch_size * world
    drawn = samples // _REPEATED_ROUND * _REPEATED_ROUND if repeats > 1 and samples >= _REPEATED_ROUND else samples
    if drawn < global_batch:
        raise DataError(
            f"{samples} training images are fewer than one global batch of {global_batch} ({batch_size} on each of {world} processes); "
            f"lower batch_size to {drawn // world} or less"
            if drawn >= world
            else f"{samples} training images are fewer than {world} processes; start fewer, or add images"
        )
    return drawn // global_batch


def eval_order(samples: int, *, rank: int, world: int, batch_size: int) -> list[Codes]:
    """Coded ids of one pass over a split on one process: every image exactly once over all processes, nothing padded.

    Each process has a run of neighbouring images; its last batch may be short, and a process may have none at all.
    """
    own = np.arange(samples * rank // world, samples * (rank + 1) // world, dtype=np.int64)
    return [own[start : start + batch_size] for start in range(0, len(own), batch_size)]


def sample_order(samples: int, most: int, *, seed: int, rank: int, world: int, batch_size: int) -> list[Codes]:
    """As eval_order, of `most` images drawn from all `samples` without repetition: a function of the seed."""
    drawn = np.sort(np.random.default_rng(seed).permutation(samples)[:most].astype(np.int64))
    return [drawn[part] for part in eval_order(most, rank=rank, world=world, batch_size=batch_size)]
