"""Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174), block by block: a block's activations are computed again when its
gradient is needed, so that memory holds one block's and not all of them. The gradients are the same.

timm's own switch can't be used: an aux net's blocks have weights during the forward pass only, and none when they run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from tleg_cli.errors import ConfigError
from tleg_cli.training.compiled import blocks_of


def checkpoint_blocks(network: nn.Module, stages: Sequence[str]) -> None:
    """From now on each block of each stage, at all depths, runs again in the backward pass. Call it after compiling.

    Raises ConfigError for a network without stages, as a teacher's: batch norm would count every batch twice.
    """
    if not stages:
        raise ConfigError(
            "gradient_checkpointing is for the blocks of aux nets and descendants; leave it out for a teacher"
        )
    for block in blocks_of(network, stages):
        block._compiled_call_impl = _again(block)  # what calling a module calls, if it is set


def _again(block: nn.Module) -> Callable[..., Any]:
    call = block._compiled_call_impl or block._call_impl
    holder = _Holder(block, call)

    def run(*inputs: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return call(*inputs)
        weights: dict[str, Tensor] = {
            f"block.{name}": weight for name, weight in block.named_parameters()
        }  # while they are there
        return checkpoint(lambda *given: functional_call(holder, weights, given), *inputs, use_reentrant=False)

    return run


class _Holder(nn.Module):
    """Calls a block past what replaces its call, so that torch can put weights into it."""

    def __init__(self, block: nn.Module, call: Callable[..., Any]):
        super().__init__()
        self.block = block
        self.call = call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(*inputs)
