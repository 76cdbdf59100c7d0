"""What a learngene's networks score with no further training, depth by depth: `tleg inspect --data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError
from tleg_cli.hookspecs import Backbone
from tleg_cli.inspect.document import FileEntry, Profile
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.file import read_learngene
from tleg_cli.learngene.residual_step import NO_STEP, SCALED
from tleg_cli.models.branches import reread
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate_file import Evaluation, top1_by_depth
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.read_header import read_header

DEPTHS = "2-12,18,24"


def profiles_of(entry: FileEntry, data: str, depths: str | None, say: Callable[[str], None]) -> list[Profile]:
    """The file's own rule and, if that has no step and the backbone can have one, the scaled step in addition.

    depths: DEPTHS by default, or, for several stages, the trained depth alone. Raises ConfigError for a file that is not a learngene.
    """
    path = Path(entry["file"])
    if read_header(path).tleg.get("format") != LEARNGENE_FORMAT:
        raise ConfigError(f"--data scores learngenes, and {path} is not one; use `tleg evaluate {path} --data {data}`")
    learngene = read_learngene(path, plugin_manager.bases())
    backbone: Backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    several = len(backbone.stages) > 1
    asked = depths or (format_depth(learngene.metadata.depth) if several else DEPTHS)
    rules = [None] if learngene.expansion.step != NO_STEP or not backbone.branch_ends else [None, SCALED]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: list[Profile] = []
    for step in rules:
        rule = reread(learngene, None, step).expansion
        scores = top1_by_depth(Evaluation(path, data, asked, step=step, workers=0), World(0, 1, device), say)
        found.append(
            {
                "data": data,
                "positions": rule.positions,
                "step": rule.step,
                "scores": [{"depth": depth, "top1": score} for depth, score in scores.items()],
            }
        )
    return found
