"""Our decoders and epoch thread, which FFCV's loader uses in place of its own. Import after `guard.import_ffcv`."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader.epoch_iterator import EpochIterator
from ffcv.pipeline.allocation_query import AllocationQuery
from ffcv.pipeline.state import State

from tleg_cli.data.batches import INDEX_MASK
from tleg_cli.data.ffcv.views import Views


class ImageDecoder(SimpleRGBImageDecoder):
    """Coded ids to images, uint8 (batch, size, size, 3), by one of the functions of views.py."""

    def __init__(self, views: Views, size: int) -> None:
        super().__init__()
        self.views, self.size = views, size

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        """Tells FFCV what to allocate."""
        shape, dtype = (self.size, self.size, 3), np.dtype("u1")
        return replace(previous_state, jit_mode=True, shape=shape, dtype=dtype), AllocationQuery(shape, dtype)

    def generate_code(self) -> Callable[..., Any]:
        """Tells FFCV what to run."""
        views = self.views

        def decode(codes: Any, images: Any, metadata: Any, storage: Any) -> Any:
            views(codes, np.asarray(storage[0]), images)
            return images

        return decode


class LabelDecoder(IntDecoder):
    """Coded ids to labels: int64 (batch,)."""

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__()
        self.labels = labels

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        """Tells FFCV what to allocate."""
        dtype = np.dtype("i8")
        return replace(previous_state, jit_mode=True, shape=(), dtype=dtype), AllocationQuery((), dtype)

    def generate_code(self) -> Callable[..., Any]:
        """Tells FFCV what to run."""
        labels = self.labels

        def decode(codes: Any, chosen: Any, metadata: Any, storage: Any) -> Any:
            np.take(labels, codes & INDEX_MASK, out=chosen)
            return chosen

        return decode


class EpochThread(EpochIterator):
    """FFCV's thread with another loop: errors reach the caller, it ends when asked to, and it waits for copies to the GPU."""

    def __init__(self, loader: Any, codes: Any) -> None:
        self.copied: dict[int, torch.cuda.Event] = {}  # slot -> recorded after everything that reads it
        self.given: int | None = None
        super().__init__(loader, codes)  # starts the thread

    def run(self) -> None:
        """Fills slot after slot until the order ends or the caller closes. The last item that it hands over is None or an exception."""
        try:
            for number, codes in enumerate(self.iter_ixes):
                if self.terminate_event.is_set():
                    return
                slot = number % (self.loader.batches_ahead + 2)
                if slot in self.copied:
                    self.copied.pop(slot).synchronize()
                self._hand_over((slot, self.run_pipeline(number, codes, slot, None)))
            self._hand_over(None)
        except BaseException as error:  # raised again by __next__, in the caller's thread
            self._hand_over(error)

    def _hand_over(self, item: Any) -> None:
        while not self.terminate_event.is_set():
            try:
                self.output_queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def __next__(self) -> Any:
        """The next batch. From now on the one before may be overwritten, as soon as the GPU has read it."""
        if self.given is not None and torch.cuda.is_available():
            self.copied[self.given] = torch.cuda.Event()
            self.copied[self.given].record()
        item = self.output_queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopIteration
        self.given, batch = item
        return batch

    def close(self) -> None:
        """Ends the thread; waits at most for the batch that it is decoding."""
        self.terminate_event.set()
        if self.is_alive():
            self.join()
        super().close()
