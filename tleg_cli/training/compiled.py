"""torch.compile for the networks of a training: block by block, so that one graph serves every block and every depth.

All graphs are made before the first step. Where that fails, the training goes on without them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import torch
from torch import Tensor, nn

from tleg_cli.augment.pipeline import step_generator
from tleg_cli.config import Recipe
from tleg_cli.errors import first_line
from tleg_cli.models.aux_net import AuxNet
from tleg_cli.training.job import Job, Observer
from tleg_cli.training.state import State
from tleg_cli.training.step import loss_of

_GRAPHS = 256  # of one block class: its kinds (shifted windows, widths of stages) times training and scoring


def wants_compiling(recipe: Recipe, device: torch.device) -> bool:
    """`compile` of the recipe; auto: on a GPU."""
    return device.type == "cuda" if recipe.compile == "auto" else bool(recipe.compile)


def compile_networks(job: Job, state: State, steps: int, observer: Observer) -> bool:
    """Compiles the network's blocks and the teacher, at every depth that a step can have; whether it succeeded.

    steps: of the training. No weight, buffer, gradient or step is changed. A failure is one warning.
    """
    device = next(state.network.parameters()).device
    if not wants_compiling(job.recipe, device):
        return False
    modules = [*blocks_of(state.network, job.stages), *([] if job.teacher is None else [job.teacher])]
    began = time.perf_counter()
    observer.say(f"torch.compile: {len(modules)} modules; this takes a minute or more and happens once")
    buffers = {name: buffer.clone() for name, buffer in state.network.named_buffers()}
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for module in modules:
            undo += _make_rates_tensors(module, device)
            module.compile(dynamic=False)
        with torch._dynamo.config.patch(recompile_limit=_GRAPHS, accumulated_recompile_limit=_GRAPHS):
            _run_once_at_each_depth(job, state, steps, device)
    except Exception as error:  # a compiler can fail in any way
        for module in modules:
            module._compiled_call_impl = None
        for parent, name, drop in undo:
            setattr(parent, name, drop)
        observer.say(f"warning: torch.compile failed ({first_line(error)}); the training runs without it")
        return False
    finally:
        state.optimizer.zero_grad(set_to_none=True)
        for name, buffer in state.network.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])
    observer.say(f"torch.compile: done in {time.perf_counter() - began:.0f} s")
    return True


def blocks_of(network: nn.Module, stages: Sequence[str]) -> list[nn.Module]:
    """The modules that are compiled: each block of each stage, at all depths; the network itself if it has no stages."""
    if not stages:
        return [network]
    root = getattr(network, "skeleton", network)
    lists = [root.get_submodule(stage) for stage in stages]
    if isinstance(network, AuxNet):
        lists += [stage for others in network.others.values() for stage in others.children()]
    return [block for blocks in lists for block in blocks.children()]


def _run_once_at_each_depth(job: Job, state: State, steps: int, device: torch.device) -> None:
    """On a real batch: how its pixels lie in memory is part of a graph."""
    network = state.network.train()
    with closing(job.train.epoch(0)) as batches:
        images, labels = next(batches)
        generator = step_generator(job.seed, 0, 0, device)
        inputs, targets = job.augment(images.to(device), labels.to(device), generator)
        for depth in [None] if job.draw is None else list(job.draw.depths):
            loss_of(job, network, network, inputs, targets, depth, steps - 1).backward()


class TensorDropPath(nn.Module):
    """timm's DropPath with its rate in a tensor: a number would be part of the graph, and each block has another one."""

    rate: Tensor

    def __init__(self, rate: float, *, scale_by_keep: bool, device: torch.device):
        super().__init__()
        self.register_buffer("rate", torch.tensor(rate, device=device), persistent=False)
        self.scale_by_keep = scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, ...); while training each image's row is 0 with probability `rate`."""
        if not self.training:
            return x
        kept = (torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.rate).to(x.dtype)
        return x * (kept / (1 - self.rate).to(x.dtype) if self.scale_by_keep else kept)


def _make_rates_tensors(module: nn.Module, device: torch.device) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replaces timm's DropPath inside; returns what was replaced: parent, name, module."""
    from timm.layers import DropPath

    replaced = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DropPath):
                drop = TensorDropPath(float(child.drop_prob or 0), scale_by_keep=child.scale_by_keep, device=device)
                setattr(parent, name, drop.train(child.training))
                replaced.append((parent, name, child))
    return replaced
