"""A network in an ONNX file that `tleg export` wrote: its card is in the file's metadata, and onnxruntime runs it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.errors import ConfigError, FileFormatError, first_line
from tleg_cli.models.model_file import ModelCard, card_header, card_of, is_card

SUFFIX = ".onnx"
INPUT, OUTPUT = "images", "logits"
INTERPOLATION = "bicubic"  # of the evaluation crop, as `tleg predict` and timm's own crop have it


def is_onnx(path: Path) -> bool:
    """Whether a file is taken for ONNX, which is by its name: the format has no mark of its own."""
    return path.suffix.lower() == SUFFIX


def need_packages(names: tuple[str, ...], purpose: str) -> None:
    """Raises ConfigError, with the way to install them, unless these packages can be imported."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken build raises whatever the linker says
            extra = "executorch" if name == "executorch" else "export"
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            reason = "which is not installed" if missing else f"which can't be imported ({first_line(error)})"
            raise ConfigError(f"{purpose} needs the package {name}, {reason}: pip install 'tleg[{extra}]'") from error


def metadata_values(card: ModelCard) -> dict[str, Any]:
    """What an exported file says about its network. An ONNX file holds text, so there each value is JSON."""
    return {**card_header(card), "depth": depth_of(card), "interpolation": INTERPOLATION}


def depth_of(card: ModelCard) -> Any:
    """How many blocks the network has, a number or one for each stage; None if its card doesn't say."""
    arguments = card.timm.arguments
    return arguments.get("depth", arguments.get("depths"))


class OnnxNetwork(nn.Module):
    """An ONNX file as a network: logits (batch, classes) of normalised float32 images (batch, 3, size, size).

    onnxruntime computes on the CPU, with as many threads as torch. Raises FileFormatError for a file that it can't load.
    """

    def __init__(self, path: Path):
        super().__init__()
        need_packages(("onnxruntime",), str(path))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise FileFormatError(f"onnxruntime can't load {path}: {plain_reason(error)}") from None

    def forward(self, images: Tensor) -> Tensor:
        """Logits on the device of the images. Raises FileFormatError if onnxruntime can't run the file."""
        try:
            (logits,) = self.session.run([OUTPUT], {INPUT: images.float().contiguous().cpu().numpy()})
        except Exception as error:  # its errors have no common class
            raise FileFormatError(f"onnxruntime can't run the file: {plain_reason(error)}") from None
        return torch.from_numpy(logits).to(images.device)

    def shapes(self) -> tuple[list[Any], list[Any]]:
        """Of its inputs and of its outputs, as the file declares them."""
        return [one.shape for one in self.session.get_inputs()], [one.shape for one in self.session.get_outputs()]

    def metadata(self) -> Mapping[str, str]:
        """What the file says about itself."""
        found: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        return found


def plain_reason(error: Exception) -> str:
    """An error of onnxruntime without its codes, paths and the place in its source."""
    text = re.sub(
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? ?failed:)?", "", " ".join(str(error).split())
    )
    return first_line(re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text))


@dataclass(frozen=True)
class OpenedOnnx:
    """A network that onnxruntime runs, and its card."""

    network: OnnxNetwork
    card: ModelCard


def open_onnx(path: Path) -> OpenedOnnx:
    """Opens a file that `tleg export` wrote. Raises FileFormatError for another program's, whose preprocessing is unknown."""
    if not path.is_file():
        raise FileFormatError(f"no model at {path}{': that is a folder' if path.is_dir() else ''}")
    network = OnnxNetwork(path)
    try:
        header = {key: json.loads(value) for key, value in network.metadata().items()}
    except (ValueError, RecursionError):
        header = {}
    if not is_card(header):
        raise FileFormatError(f"{path} was not written by `tleg export`, so its classes and preprocessing are unknown")
    try:
        card = card_of(header)
    except (FileFormatError, ConfigError) as error:
        raise FileFormatError(f"{path}: {error}") from None
    inputs, outputs = network.shapes()
    size = card.input.image_size
    if [shape[1:] for shape in inputs] != [[3, size, size]] or [shape[1:] for shape in outputs] != [[card.classes]]:
        raise FileFormatError(
            f"{path} is damaged: it says {card.classes} classes and {size} pixels, but takes {inputs} and gives {outputs}"
        )
    return OpenedOnnx(network, card)
