"""What a network costs, counted without weights: parameters, multiplications, and what its backward pass has to keep."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

from tleg_cli.learngene.depths import Depth
from tleg_cli.models.build import without_weights

_TRACED = 4  # blocks of a stage up to which a network is traced itself
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Cost:
    """Of one network. macs: multiply-adds of one image's forward pass.

    kept, kept_per_image: bytes that lie there between forward and backward pass, once (copies of weights in half
    precision) and for each image of the batch.
    """

    parameters: int
    macs: int
    kept: int
    kept_per_image: int


def cost_at(trace: Callable[[Depth], Cost], depth: Depth) -> Cost:
    """The cost at `depth`, exact, though `trace` is asked for networks of at most 4 blocks a stage alone.

    Blocks of a stage are alike but for those that alternate (Swin shifts the windows of every second one), so two more of them
    cost the same at any position:  cost(d) = cost(d mod 2) + (blocks in between) / 2 * (what two more cost).
    """
    few = tuple(blocks if blocks <= _TRACED else 2 - blocks % 2 for blocks in depth)
    start = total = astuple(trace(few))
    for stage, (blocks, traced) in enumerate(zip(depth, few, strict=True)):
        if blocks > traced:
            more = astuple(trace((*few[:stage], traced + 2, *few[stage + 1 :])))
            pairs = (blocks - traced) // 2
            total = tuple(old + pairs * (new - first) for old, new, first in zip(total, more, start, strict=True))
    return Cost(*total)


def cost_of(build: Callable[[], nn.Module], image_size: int, precision: str) -> Cost:
    """Counts the network that `build` makes. precision: fp32, bf16 or fp16, of its forward pass in training."""
    model = without_weights(build)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    macs = _macs(model.eval(), image_size)
    once, per_image = _kept(model.train(), image_size, precision)
    return Cost(parameters, macs, once, per_image)


def forward_cost(build: Callable[[], nn.Module], image_size: int) -> tuple[int, int]:
    """Parameters, and multiply-adds of one image: for a network that isn't trained."""
    model = without_weights(build)
    return sum(parameter.numel() for parameter in model.parameters()), _macs(model.eval(), image_size)


def _macs(model: nn.Module, image_size: int) -> int:
    """torch counts a multiply-add as two operations, in matrix products, convolutions and attention; the rest is small."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops()) // 2


def _kept(model: nn.Module, image_size: int, precision: str) -> tuple[int, int]:
    """Bytes kept once, and for each image: from two batches, neither of one image, which BatchNorm refuses."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    # a processor without memory: unlike the meta device, it knows autocast
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.to_empty(device="cpu")
        two, four = (_saved(model, torch.empty(batch, 3, image_size, image_size), precision) for batch in (2, 4))
    return 2 * two - four, (four - two) // 2


def _saved(model: nn.Module, images: Tensor, precision: str) -> int:
    """Bytes that autograd saves in a forward pass, each storage once; weights aren't counted, their copies are."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    found = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            found[storage._cdata] = storage  # kept alive: another one must not get its number
        return tensor

    half = torch.autocast("cpu", _DTYPES[precision]) if precision in _DTYPES else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), half:
        model(images)
    return sum(storage.nbytes() for storage in found.values())
