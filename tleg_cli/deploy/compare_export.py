"""An exported file against the network that it was made from: the same images through both, each in its own runtime."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from tleg_cli.deploy.measure_latency import time_in_turns
from tleg_cli.deploy.sample import SIZES, Sample
from tleg_cli.errors import TlegError
from tleg_cli.models.onnx_network import plain_reason

Run = Callable[[Tensor], Tensor]  # normalised float32 (batch, 3, size, size) -> logits (batch, classes)

TOLERANCE = 1e-4  # of logits, relative to the largest one if that is above 1: float32 adds in another order
_SECONDS = 1.0  # of timing


class Pair(TypedDict):
    """One quantity of both."""

    network: float
    file: float


class Comparison(TypedDict):
    """images: how many, and from where. largest_difference, largest_logit: of all logits. agreement: percent of equal top-1.

    top1: percent, for images with labels. latency_ms: median, of one image.
    """

    images: int
    source: str
    batch_sizes: list[int]
    largest_difference: float
    largest_logit: float
    agreement: float
    top1: NotRequired[Pair]
    latency_ms: Pair
    threads: int


@torch.inference_mode()
def compare(network: Run, exported: Run, sample: Sample, *, any_batch: bool = True) -> Comparison:
    """Runs both on batches of 1, 7 and 32 images of the sample, and times them with one image.

    any_batch: False for a file that takes one image at a time. Raises TlegError if the file can't be run.
    """
    ours, theirs = [], []
    for batch in sample.batches() if any_batch else sample.one_by_one():
        ours.append(network(batch).float())
        theirs.append(_logits(exported, batch))
    expected, found = torch.cat(ours), torch.cat(theirs)
    guesses = expected.argmax(1), found.argmax(1)
    result: Comparison = {
        "images": len(expected),
        "source": sample.source,
        "batch_sizes": sorted({len(one) for one in ours[: len(SIZES) + 1]}),
        "largest_difference": float((expected - found).abs().max()),
        "largest_logit": float(expected.abs().max()),
        "agreement": _share(guesses[0] == guesses[1]),
        "latency_ms": _latencies(network, exported, sample.normalised(0, 1)),
        "threads": torch.get_num_threads(),
    }
    if sample.labels is not None:
        top1 = [_share(guess == sample.labels) for guess in guesses]
        result["top1"] = {"network": top1[0], "file": top1[1]}
    return result


def _logits(exported: Run, batch: Tensor) -> Tensor:
    try:
        return exported(batch).float()
    except Exception as error:  # each runtime has errors of its own
        count = f"{len(batch)} image{'s' if len(batch) > 1 else ''}"
        raise TlegError(f"what was exported is not kept: it fails on {count} ({plain_reason(error)})") from error


def allowed_difference(comparison: Comparison) -> float:
    """How far logits of a float32 file may be from the network's."""
    return TOLERANCE * max(1.0, comparison["largest_logit"])


def _share(which: Tensor) -> float:
    return 100 * float(which.double().mean())


def _latencies(network: Run, exported: Run, image: Tensor) -> Pair:
    """Of one image, taking turns."""

    def timed(run: Run) -> Callable[[], float]:
        def one() -> float:
            began = time.perf_counter()
            run(image)
            return time.perf_counter() - began

        return one

    found = time_in_turns({"network": timed(network), "file": timed(exported)}, _SECONDS)
    return {"network": 1000 * found["network"].median, "file": 1000 * found["file"].median}
