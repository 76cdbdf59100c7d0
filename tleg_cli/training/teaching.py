"""The teacher of a stage 1: which network it is, what identifies it, how good it is, and when it is asked."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.files import file_hash
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.adopt import ITSELF
from tleg_cli.models.descendant import expanded_model
from tleg_cli.models.teacher import LoadedTeacher, load_teacher, on_device
from tleg_cli.training.agreement import labelled_by_teacher
from tleg_cli.training.distributed import World
from tleg_cli.training.job import Data, Job, Observer
from tleg_cli.training.run import Run
from tleg_cli.training.teacher_score import check_teacher, score_teacher


def teacher_for(data: Data, adopted: Learngene | None) -> LoadedTeacher | None:
    """The teacher on the world's device; None if its share of the loss is 0. An adopted network teaches itself unless another is given."""
    config = data.config
    if config.aux.distillation.alpha == 0:
        return None
    if adopted is not None and teaches_itself(config):
        network = expanded_model(adopted, adopted.metadata.depth).eval().requires_grad_(False)
        teacher = LoadedTeacher(network)
    else:
        teacher = load_teacher(config.teacher, config.data.input, data.classes)
    on_device(teacher.network, data.world.device)
    return teacher


def teaches_itself(config: Config) -> bool:
    """Whether the teacher is the network that is adopted."""
    return config.teacher.model == ITSELF and config.teacher.weights is None


def taught_by(job: Job, teacher: LoadedTeacher | None, config: Config, world: World, observer: Observer) -> Job:
    """The job with this teacher, which is asked ahead on a GPU if the config wants that."""
    if teacher is None:
        return job
    ahead = config.teacher.ahead
    if ahead and world.device.type != "cuda":
        observer.say("note: teacher.ahead changes nothing on a processor, which computes one thing after the other")
    return replace(job, teacher=teacher.network, teach_ahead=ahead and world.device.type == "cuda")


def scored_against(teacher: LoadedTeacher, job: Job, data: Data, run: Run, observer: Observer) -> Job:
    """The job, its scores being agreement with the teacher if the data has no labels. Otherwise a teacher near chance is refused."""
    config, world = data.config, data.world
    if config.data.unlabelled is not None:
        observer.say("no labels: top-1 below is the share of held-out images for which network and teacher agree")
        return replace(job, val=labelled_by_teacher(job, teacher.logits, world.device))
    if not run.has_begun():  # else its first start has scored the teacher
        scores = score_teacher(teacher, job.val, config.data.input, config.aux.precision, world)
        name = config.teacher.weights or config.teacher.model
        observer.say(check_teacher(scores, len(data.classes), name, allow_bad=config.aux.allow_bad_teacher))
    return job


def teacher_identity(config: Config, start: Learngene | None) -> dict[str, Any]:
    """The teacher by its content: a file that was moved is the same teacher, a new one under the same name isn't."""
    section = config.teacher.model_dump(mode="json", include={"model", "options", "image_size"})
    weights, class_map = config.teacher.weights, config.teacher.class_map
    if config.aux.distillation.alpha == 0:
        return {}
    if start is not None and teaches_itself(config):
        return {"model": ITSELF}
    if not weights and config.teacher.recipe is not None:
        raise ConfigError(
            f"this preset trains its own teacher: run `tleg train-teacher{_with_data(config)}` with the same --preset first, then give "
            "--teacher FILE (the teacher.safetensors in its run folder). For timm's pretrained weights of "
            f"{config.teacher.model} add --set teacher.recipe=null --set teacher.options={{}}"
        )
    if config.teacher.weight_set != "auto":
        section["weight_set"] = config.teacher.weight_set
    if class_map and Path(class_map).is_file():
        section["class_map"] = file_hash(Path(class_map))
    if weights:
        path = Path(weights)
        if not path.is_file():
            raise ConfigError(f"no teacher at {weights}; train one with `tleg train-teacher`, or give --teacher FILE")
        section["sha256"] = file_hash(path)
    return section


def _with_data(config: Config) -> str:
    return f" --data {shlex.quote(config.data.path)}" if config.data.path else ""
