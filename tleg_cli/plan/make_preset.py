"""The preset that `tleg init` writes, with the commands that use it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tleg_cli import plugin_manager
from tleg_cli.learngene.file import read_learngene
from tleg_cli.plan.fine_tune_preset import fine_tune_commands, fine_tune_preset, size_for
from tleg_cli.plan.own_preset import Choice, TeacherChoice, choose_sizes, next_commands, preset_text
from tleg_cli.plan.survey import Survey
from tleg_cli.weights.hub import local_file


@dataclass(frozen=True)
class MadePreset:
    """A preset before it is written. network, teacher: in words."""

    text: str
    commands: list[str]
    chosen: Choice
    network: str
    teacher: str


def preset_for_training(
    found: Survey, out: Path, image_size: int | None, choose_teacher: Callable[[bool], TeacherChoice], *, gpu: bool
) -> MadePreset:
    """A learngene of its own for these images. choose_teacher: takes whether images are large. Raises ConfigError for a bad size."""
    chosen = choose_sizes(found, gpu=gpu, cores=_cores(), image_size=image_size)
    teacher = choose_teacher(gpu and chosen.image_size > 64)
    commands = next_commands(out, found, teacher)
    network = f"a vision transformer of width {chosen.width}, {chosen.tokens} patches of {chosen.patch} pixels"
    state = "trained already" if teacher.kind == "file" else "to be trained"
    text = preset_text(found, chosen, teacher, commands)
    return MadePreset(text, commands, chosen, network, f"{teacher.name} ({state})")


def preset_for_fine_tuning(
    found: Survey, out: Path, image_size: int | None, learngene: Path, *, gpu: bool
) -> MadePreset:
    """Networks of a learngene that is trained already, for these images; see fine_tune_preset.py."""
    gene = read_learngene(local_file(learngene), plugin_manager.bases())
    chosen = replace(choose_sizes(found, gpu=gpu, cores=_cores()), image_size=size_for(gene, image_size))
    commands = fine_tune_commands(out, learngene, found)
    text = fine_tune_preset(gene, found, chosen, commands)
    return MadePreset(text, commands, chosen, f"{gene.metadata.backbone}, from {learngene}", "not needed")


def _cores() -> int:
    return len(os.sched_getaffinity(0))
