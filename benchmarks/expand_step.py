"""What `expand` costs in every step of stage 1: bytes that its operations move, against the least possible, and its share of the time.

python -m benchmarks.expand_step [REPEATS]

Forward, the least is to read each theta once and write the weights of all blocks; backward, to read their gradients and write those
of each theta. Bytes are those of the tensors that each operation of torch reads and writes, views left out. Aux-S of 12 blocks, fp32, one
thread.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tleg_cli import plugin_manager
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import AuxNet, new_aux_net

NAME, DEPTH, CLASSES, PIXELS = "deit_small_patch16_224", (12,), 1000, 224
MEGABYTE = 2**20


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.read = self.written = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation itself, counted."""
        result = func(*args, **(kwargs or {}))
        storages = {one.untyped_storage().data_ptr() for one in tensors((args, kwargs))}
        out = tensors(result)
        in_place = "_." in str(func) or func._schema.is_mutable
        if out and not in_place and all(one.untyped_storage().data_ptr() in storages for one in out):
            return result  # a view
        self.read += sum(map(size, tensors((args, kwargs))))
        self.written += sum(map(size, out))
        return result


def tensors(values: Any) -> list[Tensor]:
    """Those in nested lists and dictionaries."""
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def size(tensor: Tensor) -> int:
    """In bytes."""
    return tensor.numel() * tensor.element_size()


def blocks_of(gene: Learngene) -> list[Tensor]:
    """The weights that are expanded."""
    return [tensor for name, tensor in expand(gene, DEPTH).items() if name not in gene.shared]


def seconds(function: Any, repeats: int) -> float:
    """The median, the first call left out."""
    took = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        function()
        took.append(time.perf_counter() - began)
    return median(took[1:])


def both_ways(network: AuxNet, gradients: list[Tensor]) -> None:
    """Expands, and sends gradients back to theta."""
    torch.autograd.backward(blocks_of(network.learngene()), gradients)
    network.zero_grad(set_to_none=True)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    torch.set_num_threads(1)
    spec = InputSpec(PIXELS, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0)
    metadata = Metadata(NAME, {}, DEPTH, CLASSES, spec)
    network = new_aux_net(plugin_manager.get_backbone(NAME), plugin_manager.get_basis("linear"), metadata)
    theta = sum(size(one) for one in network.theta.values())
    with Traffic() as forward:
        weights = blocks_of(network.learngene())
    written = sum(map(size, weights))
    gradients = [torch.randn_like(one) for one in weights]
    with Traffic() as backward:
        torch.autograd.backward(weights, gradients)
    del weights
    least = theta + written
    for name, traffic in (("forward", forward), ("backward", backward)):
        moved = traffic.read + traffic.written
        print(
            f"{name}: {moved / MEGABYTE:,.0f} MiB moved, {moved / least:.2f} times the least of {least / MEGABYTE:,.0f} MiB"
        )
    buffer = torch.empty(least // 8)  # 4 bytes, read and written
    copy = seconds(lambda: buffer.clone(), repeats)
    took = seconds(lambda: both_ways(network, gradients), repeats)
    print(f"{1e3 * took:.0f} ms, {took / (2 * copy):.2f} times as long as copying as many bytes as the least of both")
    images = torch.randn(16, 3, PIXELS, PIXELS)
    step = seconds(lambda: network(images).square().mean().backward(), max(1, repeats // 3))
    print(f"{100 * took / step:.1f} % of a forward and backward pass of 16 images ({step:.1f} s)")


if __name__ == "__main__":
    main()
