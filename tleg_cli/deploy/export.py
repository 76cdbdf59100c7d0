"""`tleg export` as a library call: a network as a file for another runtime, which gets its name only after it was run and compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import NotRequired, TypedDict

from tleg_cli.deploy.compare_export import Comparison, Pair, Run, allowed_difference, compare
from tleg_cli.deploy.formats import Format, get_format
from tleg_cli.deploy.quantise import METHOD, quantise
from tleg_cli.deploy.sample import Sample, data_sample, random_sample
from tleg_cli.deploy.write_onnx import OPSET, set_metadata
from tleg_cli.errors import ConfigError, TlegError, first_line
from tleg_cli.files import atomic_file, temporary_folder
from tleg_cli.models.class_names import read_class_map
from tleg_cli.models.model_file import ModelCard
from tleg_cli.models.onnx_network import depth_of, is_onnx, metadata_values
from tleg_cli.training.evaluate_file import Evaluation, open_scored

_IMAGES, _RANDOM_IMAGES = 500, 64  # unless the user says how many


@dataclass(frozen=True)
class Export:
    """What is to be written. network: which one; its `data` has the images for the comparison, empty for random ones.

    images: for the comparison, at most; None for the usual number. calibration: images of the training split that set the
    ranges of int8. max_drop: points of top-1 that int8 may lose.
    """

    network: Evaluation
    out: Path
    format: str
    int8: bool = False
    images: int | None = None
    calibration: int = 128
    max_drop: float = 1.0
    opset: int = OPSET
    force: bool = False


class Calibration(TypedDict):
    """How the ranges of int8 were found, and the nodes that stay in float32."""

    method: str
    images: int
    source: str
    float_nodes: list[str]


class About(TypedDict):
    """A file, before it was run. precision: fp32 or int8. depth: a number, or one for each stage."""

    file: str
    format: str
    precision: str
    depth: Any
    classes: int
    opset: NotRequired[int]
    calibration: NotRequired[Calibration]


class ExportReport(About):
    """A file that was run. bytes: of the network's weights in memory, and of the file."""

    runtime: str
    bytes: Pair
    comparison: Comparison


def export_network(wanted: Export, say: Callable[[str], None]) -> ExportReport:
    """Writes `wanted.out`. say: takes what the user should know, and progress, one line each.

    Raises ConfigError for what can't be exported, TlegError for a file that does not compute what the network does; then
    `out` is as it was.
    """
    form = get_format(wanted.format, wanted.out)
    _check(wanted)
    network, card = _open(wanted.network, say)
    sample = _sample(wanted, card, say)
    with temporary_folder() as scratch:
        say(f"exporting {wanted.network.path}")
        file = scratch / f"network{form.suffix}"
        form.write(network, card, file, wanted.opset)
        calibration = _quantise(file, wanted, card, say) if wanted.int8 else None
        report = _about(wanted, card, calibration)
        if wanted.format == "onnx":
            set_metadata(file, _metadata(card, report))
        say(f"comparing on {len(sample.images)} {sample.source}")
        comparison = compare(network.eval(), _run_in_its_runtime(form, file), sample, any_batch=form.any_batch)
        _refuse_another_function(comparison, wanted)
        sizes: Pair = {"network": _bytes(network), "file": file.stat().st_size}
        with atomic_file(wanted.out) as temporary:
            shutil.copyfile(file, temporary)
    return {**report, "runtime": form.runtime_version(), "bytes": sizes, "comparison": comparison}


def _check(wanted: Export) -> None:
    """What can be refused before anything is read."""
    if wanted.out.exists() and not wanted.force:
        raise TlegError(f"{wanted.out} exists already; choose another name, or replace it with --force")
    if wanted.int8 and wanted.format != "onnx":
        raise ConfigError(f"--int8 is for --format onnx, not {wanted.format}")
    if wanted.int8 and not wanted.network.data:
        raise ConfigError("--int8 needs images that set the ranges of activations: give --data")


def _open(wanted: Evaluation, say: Callable[[str], None]) -> tuple[nn.Module, ModelCard]:
    """The one network, with the names of a class map if there is one."""
    if is_onnx(wanted.path):
        raise ConfigError(f"{wanted.path} is exported already; give the weights that it was made from")
    opened = open_scored(wanted)
    if len(opened.networks) > 1:
        raise ConfigError(f"--depth {wanted.depth} names {len(opened.networks)} networks; one is needed")
    for note in opened.notes:
        say(note)
    card = opened.card
    if card.classes < 1:
        raise ConfigError(f"{wanted.path} has no classifier, so its outputs are not classes")
    if wanted.class_map is not None:
        card = replace(card, class_names=read_class_map(wanted.class_map, card.classes))
    (build,) = opened.networks.values()
    return build(), card


def _sample(wanted: Export, card: ModelCard, say: Callable[[str], None]) -> Sample:
    network = wanted.network
    if network.data:
        return data_sample(card, network.data, "val", wanted.images or _IMAGES, str(network.path), say)
    say("no --data: the file is compared on random images, and accuracy is not measured")
    return random_sample(card.input, wanted.images or _RANDOM_IMAGES)


def _quantise(file: Path, wanted: Export, card: ModelCard, say: Callable[[str], None]) -> Calibration:
    """Replaces an ONNX file by the same network in int8."""
    network = wanted.network
    sample = data_sample(card, network.data, "train", wanted.calibration, str(network.path), lambda note: None)
    say(f"setting the ranges of int8 on {len(sample.images)} {sample.source}")
    full = file.with_name("full.onnx")
    file.rename(full)
    kept = quantise(full, file, sample)
    source = f"training images of {Path(network.data).name or network.data}"  # the file doesn't publish your folders
    return {"method": METHOD, "images": len(sample.images), "source": source, "float_nodes": kept}


def _about(wanted: Export, card: ModelCard, calibration: Calibration | None) -> About:
    about: About = {
        "file": str(wanted.out),
        "format": wanted.format,
        "precision": "int8" if wanted.int8 else "fp32",
        "depth": depth_of(card),
        "classes": card.classes,
    }
    if wanted.format == "onnx":
        about["opset"] = wanted.opset
    if calibration is not None:
        about["calibration"] = calibration
    return about


def _metadata(card: ModelCard, about: About) -> dict[str, str]:
    facts = {key: value for key, value in about.items() if key in ("opset", "precision", "calibration")}
    return {key: json.dumps(value, ensure_ascii=False) for key, value in {**metadata_values(card), **facts}.items()}


def _run_in_its_runtime(form: Format, file: Path) -> Run:
    """What runs the file. Raises TlegError, without the temporary name, if its runtime can't load it."""
    try:
        return form.open(file)
    except Exception as error:  # each runtime has errors of its own
        reason = first_line(str(error).replace(str(file), "it"))
        raise TlegError(f"what was exported is not kept: {form.runtime_version()} refuses it ({reason})") from error


def _refuse_another_function(comparison: Comparison, wanted: Export) -> None:
    """Raises TlegError unless the file computes what the network does: equal logits, or about the same accuracy in int8."""
    difference, allowed = comparison["largest_difference"], allowed_difference(comparison)
    if not wanted.int8:
        if not difference <= allowed:  # NaN is not
            raise TlegError(
                f"{wanted.out} is not written: its logits differ from the network's by up to {difference:.2g}, "
                f"and {allowed:.1g} is allowed"
            )
        return
    top1 = comparison["top1"]
    if not top1["network"] - top1["file"] <= wanted.max_drop + 1e-9:
        raise TlegError(
            f"{wanted.out} is not written: in int8, top-1 is {top1['file']:.2f} % in place of {top1['network']:.2f} % on "
            f"{comparison['images']} images, and {wanted.max_drop:g} points may be lost; raise --calibration-images or "
            "--max-drop, or leave --int8 out"
        )


def _bytes(network: nn.Module) -> int:
    """Of all weights, in memory."""
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())
