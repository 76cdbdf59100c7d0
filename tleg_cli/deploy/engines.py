"""What runs a network: plain torch, torch.compile or onnxruntime. Each gives a function that times one pass of a batch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tleg_cli.deploy.write_onnx import write_onnx
from tleg_cli.errors import ConfigError, did_you_mean, first_line
from tleg_cli.files import temporary_folder
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.onnx_network import OnnxNetwork, need_packages

Pass = Callable[[], float]  # runs one batch and returns its seconds
ENGINES = ("torch", "compile", "onnxruntime")


@dataclass(frozen=True)
class Setup:
    """How networks are run. threads: of the processor, None for torch's own number. Raises ConfigError for what isn't there."""

    engine: str = "torch"
    device: str = "cpu"
    batch_size: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"--engine {self.engine!r} is unknown.{did_you_mean(self.engine, ENGINES)}")
        if self.engine == "onnxruntime":
            need_packages(("onnx", "onnxscript", "onnxruntime"), "--engine onnxruntime")
            if self.device != "cpu":
                raise ConfigError(
                    f"--engine onnxruntime computes on the CPU here; --device {self.device} is for the others"
                )


@contextmanager
def processor_threads(threads: int | None) -> Iterator[int]:
    """torch uses this many threads in the block; yields how many these are. Raises ConfigError for more than there are cores."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0))
    if threads is not None and threads > cores:
        raise ConfigError(f"--threads {threads}: this process has {cores} processor cores; write 1 to {cores}")
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def timed_pass(network: nn.Module, card: ModelCard, setup: Setup) -> Pass:
    """What times one pass of a batch of random images, ready to run: compiled or exported, if that is asked for.

    card: of the network; its input is used. Raises ConfigError if torch can't compile or export the network on this machine.
    """
    device = torch.device(setup.device)
    network = network.eval().to(device)
    size = card.input.image_size
    images = torch.randn(setup.batch_size, 3, size, size, device=device)
    run: Callable[..., object] = network
    if setup.engine == "compile":
        run = _compiled(network, images)
    elif setup.engine == "onnxruntime":
        run = _in_onnxruntime(network, card)
    return _on_gpu(run, images) if device.type == "cuda" else _on_processor(run, images)


@torch.inference_mode()
def _compiled(network: nn.Module, images: torch.Tensor) -> Callable[..., object]:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA, on processors
    run = torch.compile(network, dynamic=False)
    try:
        run(images)
    except Exception as error:  # from any of the compilers that it calls: which errors is not documented
        raise ConfigError(
            f"--engine compile: torch.compile fails here ({first_line(error)}); use --engine torch"
        ) from error
    return run


def _in_onnxruntime(network: nn.Module, card: ModelCard) -> Callable[..., object]:
    """The same file that `tleg export` writes, with as many threads as torch has now."""
    with temporary_folder() as folder:
        write_onnx(network, card, folder / "network.onnx")
        return OnnxNetwork(folder / "network.onnx")


def forget_compiled() -> None:
    """torch.compile keeps at most 8 versions of a function, and silently stops compiling after that."""
    torch.compiler.reset()


def _on_processor(run: Callable[..., object], images: torch.Tensor) -> Pass:
    @torch.inference_mode()
    def one() -> float:
        began = time.perf_counter()
        run(images)
        return time.perf_counter() - began

    return one


def _on_gpu(run: Callable[..., object], images: torch.Tensor) -> Pass:
    """Between two events of the GPU's own clock."""
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    @torch.inference_mode()
    def one() -> float:
        began.record()
        run(images)
        ended.record()
        ended.synchronize()
        return began.elapsed_time(ended) / 1000

    return one
