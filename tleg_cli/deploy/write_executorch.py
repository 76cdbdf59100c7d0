"""A network as a program of ExecuTorch with XNNPACK's kernels: a .pte file for phones and small boards, one image at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.deploy.write_onnx import example_images, quiet, why_not_exported
from tleg_cli.errors import ConfigError
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.onnx_network import metadata_values

METADATA = "tleg"  # the method of the program that returns the card as JSON


def write_executorch(network: nn.Module, card: ModelCard, file: Path) -> None:
    """Writes `file`. Its memory is planned for one image: for more it would be reserved on the device all the time.

    Raises ConfigError for a network that torch can't trace or ExecuTorch can't lower.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    about = {METADATA: json.dumps(metadata_values(card))}
    try:
        with quiet():
            program = torch.export.export(network.eval(), (example_images(card)[:1],))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=about)
            file.write_bytes(lowered.to_executorch().buffer)
    except Exception as error:  # of torch's tracer and of ExecuTorch's passes, which have many
        raise ConfigError(why_not_exported(error, "ExecuTorch")) from error


def open_executorch(file: Path) -> Callable[[Tensor], Tensor]:
    """The file's `forward`, in ExecuTorch's own runtime."""
    from executorch.runtime import Runtime

    program: Any = Runtime.get().load_program(str(file))
    forward = program.load_method("forward")

    def run(images: Tensor) -> Tensor:
        return torch.cat([forward.execute([image])[0].clone() for image in images.contiguous().split(1)])

    return run
