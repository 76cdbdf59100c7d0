"""config.json as timm and the Hugging Face Hub read it: `timm.create_model("local-dir:DIR", pretrained=True)`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tleg_cli.files import write_text
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import TimmCall

NAME = "config.json"
BESIDE = ("model.safetensors", "teacher.safetensors")  # timm looks for the former, then for the only one in the folder


def timm_config(call: TimmCall, spec: InputSpec, classes: int, class_names: Sequence[str] | None) -> dict[str, Any]:
    """The document that describes one network. call: with its depth and sizes."""
    from timm.models import get_pretrained_cfg

    usual = get_pretrained_cfg(call.name)
    size = [3, spec.image_size, spec.image_size]
    pretrained: dict[str, Any] = {
        "input_size": size,
        "test_input_size": size,
        "fixed_input_size": bool(getattr(usual, "fixed_input_size", False)),
        "interpolation": "bicubic",
        "crop_pct": spec.crop_pct,
        "crop_mode": "center",
        "mean": list(spec.mean),
        "std": list(spec.std),
        "num_classes": classes,
        "first_conv": getattr(usual, "first_conv", None),
        "classifier": getattr(usual, "classifier", None),
    }
    arguments = {key: value for key, value in call.arguments.items() if key != "num_classes"}
    names = {} if class_names is None else {"label_names": list(class_names)}
    return {
        "architecture": call.name,
        "num_classes": classes,
        **names,
        "model_args": arguments,
        "pretrained_cfg": {key: value for key, value in pretrained.items() if value is not None},
    }


def write_timm_config(
    weights: Path, call: TimmCall, spec: InputSpec, classes: int, class_names: Sequence[str] | None
) -> None:
    """Next to a file of weights whose name timm finds in its folder; a folder of several networks can't have one."""
    if weights.name in BESIDE:
        document = timm_config(call, spec, classes, class_names)
        write_text(weights.parent / NAME, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
