"""FFCV's loader with a guard around it: errors reach the caller, threads end, every batch is reproducible."""

from __future__ import annotations

import functools
import queue
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tleg_cli.data.loader import Batch, Crop
from tleg_cli.data.order import Codes, epoch_order, eval_order, train_batches
from tleg_cli.errors import DataError

INSTALL = "apt-get install pkg-config libturbojpeg0-dev libopencv-dev && pip install 'tleg[ffcv]'"
BATCHES_AHEAD = 3


class FFCVLoader:
    """See Loader. repeats: None for evaluation. Raises DataError where FFCV is missing or the file can't be read."""

    def __init__(
        self,
        path: Path,
        samples: int,
        crop: Crop,
        *,
        batch_size: int,
        rank: int,
        world: int,
        repeats: int | None,
        workers: int,
    ):
        self.samples = samples
        self._place = {"batch_size": batch_size, "rank": rank, "world": world}
        self._crop, self._repeats, self._path = crop, repeats, path
        if repeats is None:
            self.batches = len(eval_order(samples, **self._place))
        else:
            self.batches = train_batches(samples, batch_size, world)
        self._threads = max(1, workers)
        _warn_if_large(path)
        self._loader = _open(path, samples, crop, batch_size, self._threads)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """See Loader. The batches are views of FFCV's buffers, overwritten a few batches later."""
        if start >= self.batches:
            return
        threads = torch.get_num_threads()
        iterator = _guarded()(self._loader, self._order(number, start))
        torch.set_num_threads(threads)  # FFCV sets torch's threads along with its own
        iterator.place = str(self._path)
        try:
            for images, labels in iterator:
                yield torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).view(-1)
        finally:
            iterator.leave()

    def _order(self, number: int, start: int) -> Codes:
        if self._repeats is None:
            return np.concatenate(eval_order(self.samples, **self._place)[start:])
        order = epoch_order(self.samples, seed=self._crop.seed, epoch=number, repeats=self._repeats, **self._place)
        return order[start:].reshape(-1)

    def close(self) -> None:
        """Forgets the file; threads have ended with their epochs."""
        self._loader = None


def _open(path: Path, samples: int, crop: Crop, batch_size: int, threads: int) -> Any:
    modules = import_ffcv()
    from tleg_cli.data.beton import check_header
    from tleg_cli.data.ffcv_decode import DecodeImages, DecodeLabels

    check_header(path)
    before = torch.get_num_threads()
    try:
        loader = modules.Loader(
            str(path),
            batch_size=batch_size,
            num_workers=threads,
            os_cache=True,  # one copy in memory for all ranks
            order=modules.OrderOption.SEQUENTIAL,  # not used: we hand every epoch's order to the iterator
            distributed=False,  # the order is already this rank's; FFCV's own would pad it with repeated samples
            seed=0,
            drop_last=False,
            batches_ahead=BATCHES_AHEAD,
            pipelines={
                "image": modules.PipelineSpec("image", decoder=DecodeImages(crop), transforms=[]),
                "label": modules.PipelineSpec("label", decoder=DecodeLabels(), transforms=[]),
            },
        )
    except (AssertionError, ValueError, KeyError, IndexError, OSError) as error:
        raise DataError(f"{path} can't be read by FFCV ({error}); `tleg doctor {path}` checks it") from error
    finally:
        torch.set_num_threads(before)
    if loader.reader.num_samples != samples:
        raise DataError(f"{path} holds {loader.reader.num_samples} images, its sidecar says {samples}; write it again")
    return loader


@functools.cache
def import_ffcv() -> Any:
    """The parts of FFCV that are used. Raises DataError with the line that installs it."""
    try:
        import ffcv.loader.epoch_iterator
        from ffcv.loader import Loader, OrderOption
        from ffcv.pipeline import PipelineSpec
    except Exception as error:  # a half-built extension raises ImportError, OSError or AttributeError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"FFCV can't be loaded ({reason}): {INSTALL}; a folder of images works without it") from error
    from types import SimpleNamespace

    return SimpleNamespace(
        Loader=Loader,
        OrderOption=OrderOption,
        PipelineSpec=PipelineSpec,
        EpochIterator=ffcv.loader.epoch_iterator.EpochIterator,
    )


@functools.cache
def _guarded() -> Any:
    """FFCV's EpochIterator, whose thread hands its exceptions over and ends when nobody waits for it."""
    from tleg_cli.data.ffcv_decode import DecodeImages, crop_numbers

    class GuardedIterator(import_ffcv().EpochIterator):
        place = ""

        def __init__(self, loader: Any, codes: Codes):
            self._images = next(
                node.id for node in loader.graph.nodes if isinstance(getattr(node, "decoder", None), DecodeImages)
            )
            self._numbers = crop_numbers(loader.pipeline_specs["image"].decoder.crop)
            super().__init__(loader, codes)

        def run(self) -> None:
            *_, numbers = self.memory_allocations["operation"][self._images]
            numbers[...] = self._numbers
            try:
                super().run()
            except BaseException as error:  # whatever it is, the caller must see it
                self._hand_over(error)

        def _hand_over(self, error: BaseException) -> None:
            while not self.terminate_event.is_set():
                try:
                    self.output_queue.put(error, timeout=0.2)
                    return
                except queue.Full:
                    continue

        def run_pipeline(self, b_ix: int, batch_indices: Any, batch_slot: int, cuda_event: Any) -> Any:
            result = super().run_pipeline(b_ix, batch_indices, batch_slot, cuda_event)
            status = self.memory_allocations["operation"][self._images][2][batch_slot][: len(batch_indices), 0]
            if status.any():
                sample = int(batch_indices[int(np.flatnonzero(status)[0])]) & 0xFFFFFFFF
                raise DataError(f"image {sample} of {self.place} is damaged; `tleg doctor {self.place}` lists all such images")
            return result

        def __next__(self) -> Any:
            while True:
                try:
                    item = self.output_queue.get(timeout=1.0)
                    break
                except queue.Empty:
                    if not self.is_alive() and self.output_queue.empty():
                        raise DataError(f"the loader of {self.place} has died; run the command again") from None
            if isinstance(item, BaseException):
                raise item
            if item is None:
                raise StopIteration
            slot, result = item
            if torch.cuda.is_available():
                self.current_stream.wait_stream(self.cuda_streams[slot])
            return result

        def leave(self) -> None:
            """Ends the thread: it may be waiting to hand over a batch that nobody will take."""
            self.terminate_event.set()
            while self.is_alive():
                try:
                    self.output_queue.get(timeout=0.05)
                except queue.Empty:
                    continue
            self.close()

    return GuardedIterator


def _warn_if_large(path: Path) -> None:
    import psutil

    free, size = psutil.virtual_memory().available, path.stat().st_size
    if size > free:
        warnings.warn(
            f"{path} ({size / 2**30:.1f} GiB) is larger than the free memory ({free / 2**30:.1f} GiB): reading waits for the disk",
            stacklevel=2,
        )
