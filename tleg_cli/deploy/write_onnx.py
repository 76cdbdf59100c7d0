"""A network as an ONNX file, by torch's own exporter: any batch size, everything that a user of the file needs in its metadata."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from tleg_cli.errors import ConfigError, first_line
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.onnx_network import INPUT, OUTPUT

OPSET = 20  # the first with Gelu; onnxruntime reads it from 1.17 on
LARGEST = 2**31 - 2**20  # bytes: a protobuf message, which an ONNX file is, has less than 2 GiB
_OPERATOR = re.compile(r"op='([\w.:]+)'|(aten[.:]+\w+(?:\.\w+)?)")


def example_images(card: ModelCard) -> torch.Tensor:
    """What the network is traced with. Two images, since torch takes a size of 1 to be fixed."""
    return torch.zeros(2, 3, card.input.image_size, card.input.image_size)


def write_onnx(network: nn.Module, card: ModelCard, file: Path, opset: int = OPSET) -> None:
    """Writes `file`, still without metadata. Raises ConfigError that names the operator that ONNX lacks, and for more than 2 GiB."""
    total = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    if total > LARGEST:
        raise ConfigError(f"{total / 2**30:.1f} GiB of weights don't fit into one ONNX file, which is at most 2 GiB")
    batch = torch.export.Dim("batch")
    try:
        with quiet():
            program = torch.onnx.export(
                network.eval(),
                (example_images(card),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                opset_version=opset,
                verbose=False,
            )
            assert program is not None
            program.save(file, external_data=False)
    except Exception as error:  # torch, onnxscript and onnx each have errors of their own
        raise ConfigError(why_not_exported(error, f"ONNX opset {opset}")) from error


def set_metadata(file: Path, metadata: Mapping[str, str]) -> None:
    """Replaces what the file says about itself. torch's notes about nodes go: they have this machine's paths in them."""
    import onnx

    model = onnx.load(file)
    graph = model.graph
    parts = (graph.node, graph.initializer, graph.value_info, graph.input, graph.output)
    for notes in (model, graph, *(one for part in parts for one in part)):
        del notes.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, file)


def why_not_exported(error: BaseException, target: str) -> str:
    """One line: the operator that can't be converted if the errors name one, else the first cause."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        text = str(cause)
        found = _OPERATOR.search(text)
        if found and ("No ONNX function" in text or "No decompositions registered" in text or "not support" in text):
            return f"the network uses {found[1] or found[2]}, which {target} does not have"
    return f"torch can't export this network to {target}: {type(causes[-1]).__name__}: {first_line(causes[-1])}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress and warnings of the exporters; what they print must not be mixed with a result on stdout."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
