"""What a protocol comes to: every training with its steps, so that each method costs the same for the complete family.

The budget counts block-images: images x blocks, forward and backward. Of a method with a source, `share` of the budget trains the
source, and the rest is divided over the depths so that each network sees the same number of images; a network alone gets no
more for being deeper. Forward passes of the teacher are not counted; they are the same for all images of all methods.
If the protocol has an `original`, the deepest network is there already, and methods that cut it pay nothing for it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace

from tleg_cli.config import Config
from tleg_cli.config_file import with_settings
from tleg_cli.data.batches import batches_per_epoch
from tleg_cli.errors import ConfigError, PluginError
from tleg_cli.initialiser import SEPARATE, Initialiser
from tleg_cli.lab.made_by import made_by
from tleg_cli.lab.protocol import MethodRecipe
from tleg_cli.lab.study import Cell, Study, Training
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.models.importance import RANKING_BATCHES, passes
from tleg_cli.training.draw_depth import DepthDraw, reference_depth
from tleg_cli.training.optim import Budget, budget_of
from tleg_cli.training.task import Task, resolve

ORIGINAL = "original"  # begins the folder's name of a network that is there already


def make_cells(study: Study, methods: Sequence[str], depths: Sequence[Depth], seeds: Sequence[int]) -> list[Cell]:
    """The chosen cells in the protocol's order. Raises ConfigError for a budget that gives a training less than one epoch.

    Raises ConfigError or PluginError that names the method for a recipe, basis or step that it can't have.
    """
    cells = []
    for method in study.methods:
        if method.name not in methods:
            continue
        recipe = study.protocol.recipes.get(method.name, MethodRecipe())
        try:
            share, ranking = _share(study, method, recipe), _ranking(study, method)
            for seed in seeds:
                sources = _sources(study, method, recipe, share, seed) if method.has_source else ()
                for depth in depths:
                    *mixing, target = _own(study, method, recipe, share, depth, seed)
                    what = made_by(method, study.images, [one.config for one in (*sources, *mixing, target)])
                    own = mixing[0] if mixing else None
                    cells.append(Cell(method, depth, seed, sources, target, own, ranking, what))
        except (ConfigError, PluginError) as error:
            raise type(error)(f"method {method.name}: {error}") from None
    _refuse_too_small(study, cells)
    return cells


def _share(study: Study, method: Initialiser, recipe: MethodRecipe) -> float:
    """Of the budget, for the source. Raises ConfigError if it is there already and the recipe has something for it."""
    if not method.has_source:
        return 0.0
    if _is_there(study, method) and not method.then:
        if given := [key for key in ("share", "source") if getattr(recipe, key)]:
            raise ConfigError(
                f"its source is the protocol's original, which has the preset's recipe; leave out recipe.{given[0]}"
            )
        return _ranking(study, method) / study.block_images
    return method.share if recipe.share is None else recipe.share


def _is_there(study: Study, method: Initialiser) -> bool:
    """Whether its (first) source is the protocol's original."""
    return study.protocol.original is not None and method.cuts_a_network


def _ranking(study: Study, method: Initialiser) -> int:
    """Block-images of ranking the blocks of the deepest network; a forward pass costs a third of one with its backward pass."""
    if not method.ranked:
        return 0
    if len(study.depths[-1]) > 1:
        raise ConfigError(
            f"it ranks the blocks of one stage, and {study.config.backbone.name} has {len(study.depths[-1])}"
        )
    return -(-passes(study.depths[-1][0]) * RANKING_BATCHES * _epoch(study, study.config).global_batch // 3)


def _sources(study: Study, method: Initialiser, recipe: MethodRecipe, share: float, seed: int) -> tuple[Training, ...]:
    """What is trained once for all depths."""
    every, own = study.depths, _recipe_settings(recipe.source)
    middle = reference_depth(every)
    of_deepest = method.trained_at == "all" and method.basis == SEPARATE  # then the deepest has every block once
    depth = every[-1] if of_deepest else {"shallowest": every[0], "deepest": every[-1]}.get(method.trained_at, middle)
    trained = every if method.trained_at == "all" else (depth,)
    settings = [*_at(method, depth, trained), *_labels(method), *method.settings]
    wanted, ranking = share * study.block_images, _ranking(study, method)
    if _is_there(study, method):
        first = _original(study, settings, seed)
    else:
        parts = 2 if method.then else 1
        wanted, ranking = wanted / parts, ranking // parts
        what = f"the source of {method.name}"
        first = _training(study, [*settings, *own], wanted, seed, what, method.basis, spent=ranking)
    if not method.then:
        return (first,)
    settings = [
        *_at(method, depth, every),
        f"aux.lr={study.config.descendant.lr}",
        *_labels(method),
        *method.then,
        *own,
    ]
    what, word = f"the second source of {method.name}", f"{'ranked-' if method.ranked else ''}from-{first.name}"
    return first, _training(study, settings, wanted, seed, what, word, spent=ranking)


def _at(method: Initialiser, depth: Depth, trained: Sequence[Depth]) -> list[str]:
    """Settings of a source that has its blocks at `depth` and is trained at the depths `trained`."""
    return [
        f"basis={_basis(method.basis, depth)}",
        f"aux.depth='{','.join(map(format_depth, trained))}'",
        f"aux.reference_depth='{format_depth(depth)}'",
        f"aux.score_depths='{format_depth(depth)}'",
    ]


def _original(study: Study, settings: Sequence[str], seed: int) -> Training:
    """The deepest network, trained by itself with the preset's rates before the comparison, which it costs nothing."""
    assert study.protocol.original is not None
    wanted = study.protocol.original * study.images
    trained = _training(study, settings, wanted, seed, "the original", ORIGINAL)
    if trained.steps < trained.steps_per_epoch:
        raise ConfigError(
            f"original {study.protocol.original:g} gives it {trained.steps} steps, less than {trained.needed}"
        )
    return replace(trained, block_images=0, least=0.0)


def _own(
    study: Study, method: Initialiser, recipe: MethodRecipe, share: float, depth: Depth, seed: int
) -> list[Training]:
    """What is trained of one depth: with mixing, first its coefficients."""
    settings = [
        f"basis={_basis(SEPARATE, depth)}",
        f"aux.depth='{format_depth(depth)}'",
        *([f"aux.lr={study.config.descendant.lr}"] if method.has_source else []),
        *_labels(method),
    ]
    blocks = sum(map(sum, study.depths))
    wanted = (1 - share) * study.block_images * sum(depth) / blocks
    what, mixing = f"{method.name} at depth {format_depth(depth)}", method.mixing
    target = [*settings, *_recipe_settings(recipe.target)]
    if mixing is None:
        return [_training(study, target, wanted, seed, what, method.name)]
    coefficients = [*settings, *mixing.settings, *_recipe_settings(recipe.mixing)]
    part = mixing.share * wanted
    return [
        _training(study, coefficients, part, seed, f"the mixing of {what}", f"mixing-{method.name}", one_step=True),
        _training(study, target, wanted - part, seed, what, method.name),
    ]


def _training(
    study: Study,
    settings: Sequence[str],
    wanted: float,
    seed: int,
    what: str,
    word: str,
    *,
    one_step: bool = False,
    spent: int = 0,
) -> Training:
    """As many complete batches as `wanted` block-images pay for; none for 0. what: for messages; word: for its folder.

    one_step: less than an epoch is enough. spent: of wanted, block-images that are for something else.
    """
    settings = (f"seed={seed}", "aux.cooldown_epochs=0", "aux.patience=null", *settings)
    config = with_settings(study.config, settings)
    task, epoch = resolve(config), _epoch(study, config)
    steps, cost = _affordable(task, epoch.global_batch, max(0.0, wanted - spent))
    number = 1 if one_step else epoch.steps_per_epoch
    needed = "one" if one_step else f"one epoch of {number}"
    at_least = sum(_step_cost(task, epoch.global_batch, step) for step in range(number))
    least = study.protocol.budget * (at_least + spent) / wanted if wanted else 0.0
    warmup = study.protocol.warmup * steps / epoch.steps_per_epoch
    config = with_settings(study.config, (f"aux.steps={steps}", f"aux.warmup_epochs={warmup:.6g}", *settings))
    return Training(_name(word, config), what, config, steps, epoch.steps_per_epoch, cost, needed, least)


def _affordable(task: Task, batch: int, wanted: float) -> tuple[int, int]:
    """(steps, block-images): of a depth that is drawn for each step, step by step."""
    if task.draw is None:
        each = _step_cost(task, batch, 0)
        return int(wanted // each), int(wanted // each) * each
    return _affordable_draws(task.draw, batch, wanted)


@functools.cache  # methods share it, and a large protocol has millions of steps
def _affordable_draws(draw: DepthDraw, batch: int, wanted: float) -> tuple[int, int]:
    steps = cost = 0
    while cost + (each := batch * sum(draw.at(steps))) <= wanted:
        steps, cost = steps + 1, cost + each
    return steps, cost


def _step_cost(task: Task, batch: int, step: int) -> int:
    """Block-images."""
    return batch * sum(task.depth if task.draw is None else task.draw.at(step))


def _refuse_too_small(study: Study, cells: Sequence[Cell]) -> None:
    """Raises ConfigError if a training gets less than one epoch, or a mixing no step."""
    trainings = [training for cell in cells for training in (*cell.sources, *cell.own)]
    worst = max(trainings, key=lambda training: training.least, default=None)
    if worst is not None and worst.least > study.protocol.budget:
        raise ConfigError(
            f"budget {study.protocol.budget:g} gives {worst.what} {worst.steps} steps, less than {worst.needed}; "
            f"it has to be {math.ceil(worst.least)} block-epochs or more"
        )


def _epoch(study: Study, config: Config) -> Budget:
    batch, repeats = config.aux.batch_size, config.augmentation.repeats
    return budget_of(config.aux, batches_per_epoch(study.images, batch_size=batch, world=1, repeats=repeats), 1)


def _labels(method: Initialiser) -> list[str]:
    return [] if method.teacher else ["aux.distillation.alpha=0"]


def _basis(name: str, depth: Depth) -> str:
    return f"piecewise:{max(depth)}" if name == SEPARATE else name


def _recipe_settings(values: dict[str, object]) -> list[str]:
    return [f"aux.{key}={json.dumps(value)}" for key, value in values.items()]


def _name(word: str, config: Config) -> str:
    """A folder's name: readable, and another one for every other config."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', word)}-{digest}"
