"""The formats of `tleg export`: for each what writes a file, what runs it, and the packages that this takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torch import nn

from tleg_cli.deploy.compare_export import Run
from tleg_cli.deploy.write_executorch import open_executorch, write_executorch
from tleg_cli.deploy.write_onnx import write_onnx
from tleg_cli.deploy.write_torch_program import open_torch_program, write_torch_program
from tleg_cli.errors import ConfigError, did_you_mean
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.onnx_network import SUFFIX, OnnxNetwork, need_packages


@dataclass(frozen=True)
class Format:
    """One format. write(network, card, file, opset), open(file); runtime: the package that runs it; packages: what else it needs.

    any_batch: whether a file takes any number of images, not only one.
    """

    suffix: str
    runtime: str
    packages: tuple[str, ...]
    write: Callable[[nn.Module, ModelCard, Path, int], None]
    open: Callable[[Path], Run]
    any_batch: bool = True

    def runtime_version(self) -> str:
        """`onnxruntime 1.31.1`."""
        return f"{self.runtime} {version(self.runtime)}"


def _without_opset(
    write: Callable[[nn.Module, ModelCard, Path], None],
) -> Callable[[nn.Module, ModelCard, Path, int], None]:
    return lambda network, card, file, _: write(network, card, file)


FORMATS = {
    "onnx": Format(SUFFIX, "onnxruntime", ("onnx", "onnxscript"), write_onnx, OnnxNetwork),
    "torch": Format(".pt2", "torch", (), _without_opset(write_torch_program), open_torch_program),
    "executorch": Format(".pte", "executorch", (), _without_opset(write_executorch), open_executorch, any_batch=False),
}


def get_format(name: str, out: Path) -> Format:
    """Raises ConfigError for an unknown name, missing packages, or a file name with another ending."""
    if name not in FORMATS:
        raise ConfigError(f"--format {name!r} is unknown.{did_you_mean(name, [*FORMATS, 'reference'])}")
    found = FORMATS[name]
    if out.suffix != found.suffix:
        raise ConfigError(f"--out {out}: a file of --format {name} ends in {found.suffix}")
    need_packages((*found.packages, found.runtime), f"--format {name}")
    return found
