"""The teacher is scored before stage 1: one that guesses would make a worthless learngene without any other sign of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing

from tleg_cli.data.batches import Batch, Loader
from tleg_cli.errors import ConfigError
from tleg_cli.launch.heartbeat import STARTING, report_activity
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.teacher import LoadedTeacher
from tleg_cli.training.distributed import World
from tleg_cli.training.evaluate import Scores, evaluate

_CHANCE = 0.01  # how probable a score may be by guessing, and still count as knowledge
_LEAST = 0.01  # of the way from chance to a perfect score


def score_teacher(teacher: LoadedTeacher, val: Loader, spec: InputSpec, precision: str, world: World) -> Scores:
    """On the validation images as the student sees them, shared by all ranks; the same scores on each. No number is drawn."""

    def with_sign_of_life(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            yield batch
            report_activity("scoring the teacher")
        report_activity(STARTING)  # the first step is still to come, and may have to compile

    with closing(val.epoch(0)) as batches:
        return evaluate(
            teacher.network,
            with_sign_of_life(batches),
            world,
            mean=spec.mean,
            std=spec.std,
            precision=precision,
            expected=val.samples,
        )


def check_teacher(scores: Scores, classes: int, where: str, *, allow_bad: bool = False) -> str:
    """One line about the teacher's score. Raises ConfigError for a score near chance, unless `allow_bad`. where: its file."""
    line = f"teacher {where}: top-1 {scores.top1:.2f} % on {scores.images:,} validation images"
    if not near_chance(round(scores.top1 * scores.images / 100), scores.images, classes):
        return line
    guessing = f"{line}, and guessing gives {100 / classes:.2g} %"
    if allow_bad:
        return f"{guessing}; used as it is (--allow-bad-teacher)"
    raise ConfigError(
        f"{guessing}. Perhaps its classes are in another order (give their names with --class-map FILE) or its normalisation "
        "is another; --allow-bad-teacher uses it as it is"
    )


def near_chance(correct: int, images: int, classes: int) -> bool:
    """Whether so many correct images of so many may be guessed.

    So it is if guessing gets as many in at least one of 100 trials (binomial distribution with 1 / classes), or if the score
    is less than 1 % of the way from chance to perfect, as with 1.1 % of 1,000 classes. With too few images it is not decided.
    """
    if classes < 2 or images * math.log(classes) < -math.log(_CHANCE):
        return False
    chance = 1 / classes
    if (correct / images - chance) / (1 - chance) < _LEAST:
        return True
    return _at_least(correct, images, chance) > _CHANCE


def _at_least(correct: int, images: int, chance: float) -> float:
    """P(X >= correct) for X binomial(images, chance)."""
    logs = (
        math.lgamma(images + 1)
        - math.lgamma(k + 1)
        - math.lgamma(images - k + 1)
        + k * math.log(chance)
        + (images - k) * math.log1p(-chance)
        for k in range(correct, images + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))
