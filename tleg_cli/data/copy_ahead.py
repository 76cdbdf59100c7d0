"""Batches on their way to a GPU: the next one is copied, on a stream of its own, while the step before it computes.

More can be done with it there, see `prepare`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from tleg_cli.data.batches import Batch

Parts = tuple[Tensor, ...]
Arrive = Callable[[], Parts]  # a batch where it is needed, for the work that is queued from now on


def copied_ahead(
    batches: Generator[Batch, None, None], device: torch.device, prepare: Callable[[Batch], Parts] | None = None
) -> Generator[Parts, None, None]:
    """The same batches on `device`; on a processor the generator itself. Closing it closes `batches`.

    prepare: what else is queued on the stream of the copies; its results are what comes out. Only for a GPU.
    """
    if device.type != "cuda":
        assert prepare is None
        return batches
    stream = torch.cuda.Stream(device)
    return one_ahead(batches, lambda batch: _sent(batch, device, stream, prepare))


def one_ahead(batches: Generator[Batch, None, None], send: Callable[[Batch], Arrive]) -> Generator[Parts, None, None]:
    """Every batch is sent before the one before it is given out. send: must not need the batch's memory once it returns."""
    try:
        arrive: Arrive | None = None
        for batch in batches:
            next_one = send(batch)
            if arrive is not None:
                yield arrive()
            arrive = next_one
        if arrive is not None:
            yield arrive()
    finally:
        batches.close()


def _sent(
    batch: Batch, device: torch.device, stream: torch.cuda.Stream, prepare: Callable[[Batch], Parts] | None
) -> Arrive:
    """Starts the copies and what prepares the batch. Pinned memory is torch's own, which isn't used again before its copy has ended."""
    made_there = batch[0].is_cuda
    if made_there and prepare is None:
        return lambda: batch
    if made_there:
        stream.wait_stream(torch.cuda.current_stream(device))
        for part in batch:
            part.record_stream(stream)
    pinned = [part if made_there or part.is_pinned() else part.pin_memory() for part in batch]
    with torch.cuda.stream(stream):
        images, labels = (part.to(device, non_blocking=True) for part in pinned)
        prepared = (images, labels) if prepare is None else prepare((images, labels))
        ready = stream.record_event()

    def arrive() -> Parts:
        here = torch.cuda.current_stream(device)
        here.wait_event(ready)
        for part in prepared:
            part.record_stream(here)  # made on the other stream: its memory isn't given away before this one is done
        return prepared

    return arrive
