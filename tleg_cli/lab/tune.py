"""`tleg lab --tune`: learning rates on images held out from the training set, with as many trials for every method."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from tleg_cli.data.open_source import open_source
from tleg_cli.files import write_text
from tleg_cli.initialiser import Initialiser
from tleg_cli.lab.folder import LabFolder, Row
from tleg_cli.lab.plan import make_cells
from tleg_cli.lab.protocol import MethodRecipe, Protocol
from tleg_cli.lab.run import Told, run_cells
from tleg_cli.lab.study import Study, make_study
from tleg_cli.learngene.depths import Depth

FACTORS = (0.5, 1.0, 2.0)  # times the protocol's own rates
HELD_OUT = 6  # one training image in so many


@dataclass(frozen=True)
class Trial:
    """A method with all its rates multiplied by `factor`. top1: mean over `depths` on the held-out images; None if a cell failed."""

    method: str
    factor: float
    source_lr: float | None
    target_lr: float | None
    top1: float | None
    depths: str
    seed: int
    held_out: int
    mixing_lr: float | None = None  # of a training of coefficients alone


def tune(
    study: Study,
    methods: Sequence[str],
    depths: Sequence[Depth],
    folder: Path,
    device: str,
    jobs: int,
    told: Told,
) -> tuple[list[Trial], Path]:
    """Tries every factor with the protocol's first seed; returns the trials and the file of the protocol with the best rates.

    depths: those that decide; each is trained as long as it would be in the family.

    The test images are not used. Trials that are finished are not run again.
    """
    seed, held_out = study.protocol.seeds[0], max(1, study.images // HELD_OUT)
    trials = []
    for factor in FACTORS:
        held = _with_rates(study, factor, held_out)
        place = LabFolder(folder).part(f"factor-{factor:g}")
        place.claim(held)
        rows = run_cells(held, make_cells(held, methods, depths, [seed]), place, device, jobs, told)
        trials += [
            _trial(study, method, factor, rows, seed, held_out) for method in study.methods if method.name in methods
        ]
    write_text(folder / "trials.jsonl", "".join(f"{json.dumps(asdict(trial))}\n" for trial in trials))
    tuned = folder / "tuned.yaml"
    write_text(tuned, _tuned(study.protocol, trials))
    return trials, tuned


def _with_rates(study: Study, factor: float, held_out: int) -> Study:
    """The study with all rates multiplied, on a part of its training images."""
    protocol = study.protocol
    path = f"holdout/{held_out}/{study.config.data.path}"
    recipes = {
        method.name: _scaled(protocol.recipes.get(method.name, MethodRecipe()), _rates(study, method, factor))
        for method in study.methods
    }
    settings = (*protocol.settings, f"data.path={json.dumps(path)}")
    changed = protocol.model_copy(update={"settings": settings, "recipes": recipes})
    return make_study(changed, len(open_source(path).train()))


def _rates(study: Study, method: Initialiser, factor: float) -> dict[str, float]:
    """Recipe key -> the rate of that training, times the factor; of the trainings that the method has."""
    (cell,) = make_cells(study, [method.name], study.depths[:1], study.protocol.seeds[:1])
    source = next((one for one in cell.sources if one.block_images), None)  # an original has the preset's rates
    trainings = {"source": source, "mixing": cell.mixing, "target": cell.target}
    return {
        part: float(f"{training.config.aux.lr * factor:.6g}")
        for part, training in trainings.items()
        if training is not None and training.least > 0
    }


def _scaled(recipe: MethodRecipe, rates: Mapping[str, float]) -> MethodRecipe:
    return recipe.model_copy(update={part: {**getattr(recipe, part), "lr": rate} for part, rate in rates.items()})


def _trial(study: Study, method: Initialiser, factor: float, rows: Sequence[Row], seed: int, held_out: int) -> Trial:
    mine = [row for row in rows if row["method"] == method.name]
    complete = all(row["status"] == "done" for row in mine)
    rates = _rates(study, method, factor)
    top1 = fmean(row["top1"] for row in mine) if complete else None
    depths = ",".join(dict.fromkeys(row["depth"] for row in mine))
    return Trial(
        method.name, factor, rates.get("source"), rates.get("target"), top1, depths, seed, held_out, rates.get("mixing")
    )


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The best trial of a method; of equals, the one nearest to the protocol's own rates. None if all failed."""
    tried = [trial for trial in trials if trial.top1 is not None]
    return max(tried, key=lambda trial: (trial.top1, -abs(trial.factor - 1)), default=None)


def _tuned(protocol: Protocol, trials: Sequence[Trial]) -> str:
    """The protocol with the rates of each method's best trial; of equals, those nearest to the protocol's own."""
    recipes: dict[str, Any] = {name: recipe.model_dump() for name, recipe in protocol.recipes.items()}
    for name in dict.fromkeys(trial.method for trial in trials):
        best = best_of([trial for trial in trials if trial.method == name])
        if best is None:
            continue
        recipe = recipes.setdefault(name, MethodRecipe().model_dump())
        for part, rate in (("source", best.source_lr), ("mixing", best.mixing_lr), ("target", best.target_lr)):
            if rate is not None:
                recipe[part] = {**recipe[part], "lr": rate}
    values = protocol.model_dump(mode="json") | {"recipes": recipes}
    head = f"# Written by `tleg lab --tune`: the best of {len(FACTORS)} trials for each method, on {trials[0].held_out} held-out images.\n"
    return head + yaml.safe_dump(values, sort_keys=False)
