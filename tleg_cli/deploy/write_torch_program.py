"""A network as a program of `torch.export`: a .pt2 file that torch runs without timm, from Python or compiled for C++."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tleg_cli.deploy.write_onnx import example_images, quiet, why_not_exported
from tleg_cli.errors import ConfigError
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.onnx_network import metadata_values

METADATA = "tleg.json"  # the name of the card inside the file


def write_torch_program(network: nn.Module, card: ModelCard, file: Path) -> None:
    """Writes `file`, with the card as JSON in it. Raises ConfigError for a network that torch can't trace."""
    batch = torch.export.Dim("batch")
    try:
        with quiet():
            program = torch.export.export(network.eval(), (example_images(card),), dynamic_shapes=({0: batch},))
            torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata_values(card))})
    except Exception as error:  # of torch's tracer, which has many
        raise ConfigError(why_not_exported(error, "torch.export")) from error


def open_torch_program(file: Path) -> Callable[[Tensor], Tensor]:
    """The program of a file that this process has written; it is unpickled, so no other file is opened by this."""
    module: Callable[[Tensor], Tensor] = torch.export.load(file).module()
    return module
