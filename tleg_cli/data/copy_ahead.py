"""Batches on their way to a GPU: the next one is copied, on a stream of its own, while the step before it computes."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch

from tleg_cli.data.batches import Batch

Arrive = Callable[[], Batch]  # the batch where it is needed, for the work that is queued from now on


def copied_ahead(batches: Generator[Batch, None, None], device: torch.device) -> Generator[Batch, None, None]:
    """The same batches on `device`; on a processor the generator itself. Closing it closes `batches`."""
    if device.type != "cuda":
        return batches
    stream = torch.cuda.Stream(device)
    return one_ahead(batches, lambda batch: _sent(batch, device, stream))


def one_ahead(batches: Generator[Batch, None, None], send: Callable[[Batch], Arrive]) -> Generator[Batch, None, None]:
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


def _sent(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Arrive:
    """Starts the copies. Pinned memory is torch's own, which isn't used again before its copy has ended."""
    if batch[0].is_cuda:  # made there
        return lambda: batch
    pinned = [part if part.is_pinned() else part.pin_memory() for part in batch]
    with torch.cuda.stream(stream):
        images, labels = (part.to(device, non_blocking=True) for part in pinned)
        copied = stream.record_event()

    def arrive() -> Batch:
        here = torch.cuda.current_stream(device)
        here.wait_event(copied)
        for part in (images, labels):
            part.record_stream(here)  # made on the other stream: its memory isn't given away before this one is done
        return images, labels

    return arrive
