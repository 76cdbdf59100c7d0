"""`tleg init --learngene`: the preset that fine-tunes networks of a learngene on other images; docs/finetune.md."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tleg_cli.errors import ConfigError, printable
from tleg_cli.learngene.gene import Learngene
from tleg_cli.plan.own_preset import Choice, augmentation_lines, prepare_commands, with_data
from tleg_cli.plan.survey import Survey

DEPTHS = "3,6,12"
_STEPS = {"cpu": 600, "cuda": 6_000}  # of a network
_RATE = "2.0e-3"
_q = json.dumps  # a JSON string is a YAML string, whatever a name contains


def fine_tune_preset(learngene: Learngene, found: Survey, chosen: Choice, commands: list[str]) -> str:
    """The preset as YAML. chosen: for these images at the size that they are used at; its network is not used."""
    lines = [
        "# Written by `tleg init --learngene`; every value is a starting point that you may change. docs/finetune.md explains it.",
        f"# {found.train:,} training and {found.val:,} validation images, {len(found.classes)} classes, about "
        f"{found.shorter} x {found.longer} pixels.",
        "#",
        *(f"#   {printable(command)}" for command in commands),
        "",
        *_network_lines(learngene, chosen),
        *_data_lines(learngene, found, chosen),
        *augmentation_lines(chosen),
        *_training_lines(learngene, found, chosen),
    ]
    return "\n".join(lines) + "\n"


def _network_lines(learngene: Learngene, chosen: Choice) -> list[str]:
    metadata = learngene.metadata
    return [
        "backbone: # the learngene's",
        f"  name: {_q(metadata.backbone)}",
        f"  options: {_q({**metadata.options, **_size(metadata.options, chosen.image_size)})}",
        "",
        f"basis: {_q(learngene.basis.name)}",
        "seed: 0",
        "",
    ]


def _data_lines(learngene: Learngene, found: Survey, chosen: Choice) -> list[str]:
    own = learngene.metadata.input
    resampled = "" if chosen.image_size == own.image_size else "; the position embedding is resampled by timm"
    return [
        "data:",
        f"  path: {_q(found.data)} # --data overrides it",
        f"  image_size: {chosen.image_size} # the learngene's is {own.image_size}{resampled}",
        f"  mean: {list(own.mean)} # of the images that the learngene was trained on, which its weights expect",
        f"  std: {list(own.std)}",
        f"  crop_pct: {own.crop_pct}",
        f"  workers: {chosen.workers}",
        "",
    ]


def _training_lines(learngene: Learngene, found: Survey, chosen: Choice) -> list[str]:
    steps = max(1, found.train // chosen.batch)
    epochs = min(30, max(5, round(_STEPS["cuda" if chosen.gpu else "cpu"] / steps)))
    precision = "bf16" if chosen.gpu else "fp32"
    depth = _q(":".join(map(str, learngene.metadata.depth)))
    return [
        "aux: # not used: the learngene is trained already",
        f"  depth: {depth}",
        "  epochs: 0",
        f"  batch_size: {chosen.batch}",
        f"  lr: {_RATE}",
        f"  precision: {precision}",
        "  distillation: {alpha: 0.0} # so that no teacher is missing",
        "",
        "descendant:",
        f"  depths: {DEPTHS if len(learngene.metadata.depth) == 1 else depth}",
        "  fresh_head: true # of your classes",
        f"  epochs: {epochs}",
        f"  batch_size: {chosen.batch}",
        f"  lr: {_RATE} # try twice and half of it",
        "  layer_decay: null # 0.75: every layer below has 0.75 times the rate of the one above",
        "  warmup_epochs: 1",
        f"  precision: {precision}",
    ]


def fine_tune_commands(out: Path, file: Path, found: Survey) -> list[str]:
    """From the preset to fine-tuned networks, with the user's own paths."""
    runs = shlex.quote(f"runs/{out.stem}")
    train = f"tleg train-des --preset {with_data(out, found)} --learngene {shlex.quote(str(file))} --out {runs}"
    return [*prepare_commands(out, found), train, f"tleg report {runs}"]


def size_for(learngene: Learngene, wanted: int | None) -> int:
    """Pixels that images are used at: as wanted, or the learngene's own. Raises ConfigError if its patches don't fit."""
    own = learngene.metadata.input.image_size
    patch = learngene.metadata.options.get("patch_size")
    if wanted is not None and isinstance(patch, int) and wanted % patch:
        raise ConfigError(
            f"--image-size {wanted}: the learngene's patches have {patch} pixels; choose a multiple of that"
        )
    return wanted or own


def _size(options: object, pixels: int) -> dict[str, int]:
    return {"img_size": pixels} if isinstance(options, dict) and "img_size" in options else {}
