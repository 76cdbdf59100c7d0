"""The loader for .beton files: FFCV's, with our order, decoders and thread. Errors reach the caller, and nothing is padded."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tleg_cli.data.crops import CropRule
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.ffcv.guard import (
    import_ffcv,
    not_compiled,
    torch_threads_kept,
    usable_threads,
    warn_if_larger_than_memory,
)
from tleg_cli.data.ffcv.sidecar import Sidecar
from tleg_cli.data.ffcv.verify import check_against_sidecar

if TYPE_CHECKING:
    from tleg_cli.config import DataSection
    from tleg_cli.data.batches import Batch, Order


@dataclass
class FfcvLoader:
    """Batches of a .beton file, in the order of `order(epoch)`. See `tleg_cli.data.open.Loader`."""

    engine: Any  # ffcv.loader.Loader, opened once for all epochs
    order: Order
    samples: int
    batches: int

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number` from batch `start` on. Raises DataError for an image that can't be decoded."""
        from tleg_cli.data.ffcv.pipeline import EpochThread

        batches = list(self.order(number))[start:]
        if not batches:
            return
        thread = EpochThread(self.engine, np.concatenate(batches))
        try:
            for images, labels in thread:
                yield images.permute(0, 3, 1, 2), labels.view(-1)
        finally:
            thread.close()

    def close(self) -> None:
        """Closes the file."""
        self.engine = None


def open_beton(file: Path, sidecar: Sidecar, rule: CropRule, order: Order, data: DataSection) -> FfcvLoader:
    """A loader of one .beton file. Raises DataError without FFCV, for a damaged file, or one that isn't the sidecar's."""
    batches = order.batches()
    import_ffcv()
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    from tleg_cli.data.ffcv.pipeline import ImageDecoder, LabelDecoder
    from tleg_cli.data.ffcv.views import centre_views, random_views

    beton = read_beton(file)
    check_against_sidecar(beton, sidecar)
    warn_if_larger_than_memory(file)
    threads = usable_threads(data.workers)
    decode = random_views(beton, rule, threads) if rule.scale else centre_views(beton, rule, data, threads)
    with torch_threads_kept(), not_compiled():
        engine = Loader(
            str(file),
            batch_size=order.batch_size,
            num_workers=threads,
            os_cache=True,  # False would read all of the file into each process
            order=OrderOption.SEQUENTIAL,  # not used: every epoch has an order of ours
            distributed=False,  # our order gives each process its part
            seed=rule.seed,
            drop_last=False,
            pipelines={
                "image": [ImageDecoder(decode, data.image_size), ToTensor()],
                "label": [LabelDecoder(beton.labels), ToTensor()],
            },
        )
    _forget_pages(engine.memory_manager)
    return FfcvLoader(engine, order, sidecar.samples, batches)


def _forget_pages(manager: Any) -> None:
    """Frees FFCV's maps between samples and pages, which only its own orders read: 0.4 kB an image in each process."""
    manager.sample_to_pages = manager.page_to_samples = manager.ptr_to_size = None
