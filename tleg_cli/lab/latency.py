"""How long a network of each depth takes here. The weights don't matter, so that it is measured once for all methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.data.open import describe
from tleg_cli.deploy.engines import Setup, processor_threads, timed_pass
from tleg_cli.deploy.measure_latency import time_in_turns
from tleg_cli.lab.study import Study
from tleg_cli.learngene.depths import format_depth
from tleg_cli.models.build import build_model, timm_call
from tleg_cli.models.model_file import ModelCard
from tleg_cli.training.task import resolve

QUIET = 0.9  # share of the time with a processor, above which times are right


@dataclass(frozen=True)
class Latency:
    """seconds: median of one image by depth. share: of the time of measuring, in which this process had a processor; below 0.9
    the machine was busy. None on a GPU."""

    device: str
    threads: int
    seconds: Mapping[str, float]
    share: float | None

    @staticmethod
    def read(values: Mapping[str, Any]) -> Latency:
        """Of latency.json."""
        return Latency(values["device"], values["threads"], dict(values["seconds"]), values["share"])


def measure(study: Study, device: str, seconds: float = 1.5) -> Latency:
    """Batches of one image, all depths in turns, as `tleg choose` measures. seconds: for each depth."""
    config, task = study.config, resolve(study.config)
    classes = len(describe(config.data).classes)
    backbone, setup = plugin_manager.get_backbone(config.backbone.name), Setup(device=device)
    with processor_threads(1 if device == "cpu" else None) as threads:
        passes = {}
        for depth in study.depths:
            call = timm_call(backbone, task.options, depth, classes)
            card = ModelCard("descendant", call, classes, config.data.input)
            passes[format_depth(depth)] = timed_pass(build_model(backbone, task.options, depth, classes), card, setup)
        timings = time_in_turns(passes, seconds * len(passes))
    share = min(timing.share for timing in timings.values()) if device == "cpu" else None
    return Latency(device, threads, {depth: timing.median for depth, timing in timings.items()}, share)
