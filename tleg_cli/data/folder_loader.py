"""The loader for images that PIL reads: torch's DataLoader with our order and crops. Needs no FFCV."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from tleg_cli.data.batches import INDEX_BITS, INDEX_MASK, Codes
from tleg_cli.data.crops import CropRule, centre_crop, flipped, random_box
from tleg_cli.data.loader_workers import (
    PREFETCH,
    Send,
    choose_transfer,
    end,
    forget,
    received,
    start_worker,
    starting_workers,
    watched,
)
from tleg_cli.data.read_image import LARGEST, load_pillow
from tleg_cli.data.source import name_of
from tleg_cli.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from tleg_cli.data.batches import Batch, Order
    from tleg_cli.hookspecs import Split


@dataclass(frozen=True)
class Views:
    """A split as a DataLoader's data set: coded ids in, one batch out. Runs in worker processes."""

    split: Split
    rule: CropRule
    image_size: int
    crop_pct: float
    interpolation: str  # bicubic or bilinear

    def __getitems__(self, codes: Codes) -> tuple[torch.Tensor, torch.Tensor] | DataError:
        """uint8 (batch, 3, size, size) and int64 (batch,). An error is returned, since a DataLoader would wrap it in a traceback."""
        images = np.empty((len(codes), self.image_size, self.image_size, 3), dtype=np.uint8)
        labels = np.empty(len(codes), dtype=np.int64)
        try:
            for place, code in enumerate(codes.tolist()):
                image, labels[place] = self.split[code & INDEX_MASK]
                self._refuse_strips(image, code & INDEX_MASK)
                images[place] = self._view(image, code >> INDEX_BITS)
        except DataError as error:
            return error
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def _refuse_strips(self, image: Image, index: int) -> None:
        """Raises DataError for an image so narrow that the resizing of the evaluation crop would take gigabytes."""
        if self.rule.scale is not None:
            return
        shorter, longer = sorted(image.size)
        resized = self.image_size / self.crop_pct
        if resized * resized * longer / shorter > LARGEST:
            raise DataError(
                f"{name_of(self.split, index)} has {image.width} x {image.height} pixels, which is too narrow a strip "
                f"for {self.image_size} x {self.image_size}; crop or remove it"
            )

    def _view(self, image: Image, draw: int) -> np.ndarray:
        if self.rule.scale is None:
            pixels = np.asarray(self._centre(image))
        else:
            pixels = np.asarray(self._random(image, draw))
        return pixels[:, ::-1] if flipped(self.rule.seed, draw, self._numbers) else pixels

    def _random(self, image: Image, draw: int) -> Image:
        top, left, height, width = random_box(image.height, image.width, self.rule.seed, draw, self._numbers)
        box = image.crop((left, top, left + width, top + height))
        return box.resize((self.image_size, self.image_size), self._filter)

    def prepare(self) -> None:
        """Imports what reading takes, once before the workers are forked instead of seconds in each of them."""
        load_pillow()
        if self.rule.scale is None:
            _ = self._centre

    @cached_property
    def _numbers(self) -> Any:
        return self.rule.numbers()

    @cached_property
    def _filter(self) -> Any:
        from PIL import Image

        return Image.Resampling[self.interpolation.upper()]

    @cached_property
    def _centre(self) -> Any:
        return centre_crop(self.image_size, self.crop_pct, self.interpolation)


@dataclass
class FolderLoader:
    """Batches of a split that PIL reads, in the order of `order(epoch)`. See `tleg_cli.data.batches.Loader`."""

    views: Views
    order: Order
    workers: int
    samples: int = field(init=False)
    batches: int = field(init=False)
    _todo: list[Codes] = field(init=False, default_factory=list)
    _loader: DataLoader[Any] | None = field(init=False, default=None)
    _running: Sequence[Any] = field(init=False, default=())  # the worker processes

    def __post_init__(self) -> None:
        self.samples = len(self.views.split)
        self.batches = self.order.batches()
        self.views.prepare()
        batch_bytes = self.order.batch_size * (3 * self.views.image_size**2 + 8)
        transfer = choose_transfer(self.workers, batch_bytes, rank=self.order.rank, processes=self.order.world)
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._loader = DataLoader(
            self.views,  # type: ignore[arg-type]  # map-style by __getitems__
            batch_sampler=_Todo(self._todo),  # type: ignore[arg-type]
            collate_fn=Send(transfer.shared),
            num_workers=transfer.workers,
            prefetch_factor=PREFETCH if transfer.workers else None,
            worker_init_fn=partial(start_worker, os.getpid(), in_main_thread) if transfer.workers else None,
            pin_memory=torch.cuda.is_available() and (transfer.shared or not transfer.workers),
            persistent_workers=transfer.workers > 0,
        )

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number` from batch `start` on. Raises DataError for an image that can't be read, or a dead worker."""
        if self._loader is None:
            raise RuntimeError("this loader is closed")
        self._todo[:] = list(self.order(number))[start:]
        batches = self._start_epoch(self._loader)
        for _ in range(len(self._todo)):
            with self._watched():
                batch = next(batches)
            yield received(batch)

    def _start_epoch(self, loader: DataLoader[Any]) -> Iterator[Any]:
        with self._watched(), contextlib.nullcontext() if self._running else starting_workers():
            batches = iter(loader)
        self._running = getattr(batches, "_workers", ())
        return batches

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """While the block waits for workers. If one died, its locks are lost, and torch must not wait for them when it ends the others."""
        try:
            with watched(self._running):
                yield
        except DataError:
            end(self._running)
            forget(getattr(self._loader, "_iterator", None))
            self.close()
            raise

    def close(self) -> None:
        """Ends the worker processes."""
        self._loader = None
        end(self._running)
        self._running = ()


@dataclass(frozen=True)
class _Todo:
    """The DataLoader's batch sampler: whatever is in the list when an epoch begins, since its workers outlive the epoch."""

    batches: list[Codes]

    def __iter__(self) -> Iterator[Codes]:
        return iter(list(self.batches))

    def __len__(self) -> int:
        return len(self.batches)
