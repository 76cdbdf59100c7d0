"""Versions, processors and plugins of this machine, as plain values."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from importlib import metadata
from typing import Any

from tleg_cli import __version__
from tleg_cli.data.ffcv.guard import INSTALL
from tleg_cli.errors import first_line

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "Pillow",
    "ffcv",
    "numba",
    "opencv-python",
    "pydantic",
    "typer",
    "safetensors",
)


def machine_facts() -> dict[str, Any]:
    """What a bug report needs, in a fixed order."""
    return {
        "tleg": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in _PACKAGES},
        "ffcv build": _ffcv(),
        "processors": os.cpu_count(),
        **_torch(),
        "/dev/shm free": _free("/dev/shm"),
        **_plugins(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _ffcv() -> str:
    try:
        importlib.import_module("ffcv.libffcv")
    except Exception as error:  # a broken build raises whatever the linker reports
        return f"missing ({first_line(error)}); image folders work; for .beton files: {INSTALL}"
    return "works"


def _torch() -> dict[str, Any]:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "torch threads": torch.get_num_threads(),
        "CUDA": f"{torch.version.cuda}: {', '.join(names)}" if names else "no GPU; train with --device cpu",
        "NCCL": torch.distributed.is_nccl_available(),
    }


def _free(folder: str) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB"
    except OSError:
        return "not available"


def _plugins() -> dict[str, str]:
    from tleg_cli.plugin_manager import survey

    return {f"plugin {report.name}": report.error or f"{report.version}, {report.source}" for report in survey()}
