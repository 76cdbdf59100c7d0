"""The first training of a network with learned mixtures, as in LiGO: only the coefficients of its blocks are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tleg_cli.config import Config
from tleg_cli.initialiser import Mixing
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.file import write_learngene
from tleg_cli.learngene.full_rank import full_rank
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.coefficient_net import new_mixture_net, plain_size, plain_weights
from tleg_cli.training.distributed import World
from tleg_cli.training.identity import identity
from tleg_cli.training.job import Observer, open_data
from tleg_cli.training.loop import train
from tleg_cli.training.losses import Distilled, label_loss
from tleg_cli.training.records import Summary
from tleg_cli.training.run import open_run
from tleg_cli.training.teaching import teacher_for, teacher_identity
from tleg_cli.training.train_aux import RESULT


def train_mixture(
    config: Config, source: Learngene, mixing: Mixing, depth: Depth, out: Path, world: World, observer: Observer
) -> Summary:
    """Trains the coefficients by the recipe `config.aux`, and writes the network as a learngene of full rank: `out/learngene.pt`."""
    recipe = config.aux
    inputs = {
        "command": "mixture",
        "depth": format_depth(depth),
        "start": source.metadata.provenance.get("sha256"),
        "teacher": teacher_identity(config, None),
        "distillation": recipe.distillation.model_dump(mode="json"),
    }
    with open_data(config, world) as data:
        what = identity(config, recipe, world, data.classes, **inputs)
        with open_run(out, what, config, world, observer) as run:
            if run.summary is not None:
                return run.summary
            torch.manual_seed(config.seed)
            drops = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path}
            network = new_mixture_net(source, depth, mixing.rows, **drops)
            teacher = teacher_for(data, None)
            objective = Distilled(teacher.logits, recipe.distillation) if teacher else label_loss
            state = train(network, data.job(objective, recipe, stages=source.stages), run, observer)
            metadata = replace(source.metadata, depth=depth)
            if world.main:
                write_learngene(
                    full_rank(plain_weights(state.network), source.stages, metadata, PUBLISHED), out / RESULT
                )
            return run.finish(
                state.history,
                kind="aux",
                depth=format_depth(depth),
                learngene_parameters=plain_size(network),
                file=RESULT,
            )
