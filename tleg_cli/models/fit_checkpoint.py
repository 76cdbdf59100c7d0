"""`tleg fit` as a library call: from a checkpoint file to a learngene, with how well it fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from tleg_cli.config_file import read_yaml
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.files import file_hash
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.fit import Fitted, StackFit, fit
from tleg_cli.learngene.gene import Metadata
from tleg_cli.models.model_file import ModelCard, card_of, is_card
from tleg_cli.models.recognise import Recognised, recognise
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.open import open_weights


def fit_file(
    checkpoint: Path,
    basis: Basis,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
    which: str = "auto",
) -> Fitted:
    """The learngene nearest to the network of a file. backbone, options: see recognise().

    which: auto (the moving average if there is one), raw or ema.

    Raises FileFormatError for a file that is not a network of a registered backbone, ConfigError for a backbone or a basis
    that it isn't of.
    """
    with open_weights(checkpoint, which) as (header, get):
        if header.tleg.get("format") == LEARNGENE_FORMAT:
            raise FileFormatError(f"{checkpoint} is a learngene already; tleg expand makes networks of it")
        try:
            card = card_of(header.tleg) if is_card(header.tleg) else None
            found = recognise({name: info.shape for name, info in header.tensors.items()}, card, backbone, options)
            weights = {name: get(name) for name in header.tensors}
            return fit(weights, found.backbone.stages, basis, _metadata(found, card, checkpoint, header.which))
        except (FileFormatError, ConfigError) as error:
            raise type(error)(f"{checkpoint}: {error}") from None


def _metadata(found: Recognised, card: ModelCard | None, checkpoint: Path, which: str) -> Metadata:
    return Metadata(
        backbone=found.backbone.name,
        options=found.options,
        depth=found.depth,
        classes=found.classes,
        input=found.input,
        provenance={
            "fitted_to": checkpoint.name,
            "sha256": file_hash(checkpoint),
            "weights": which,
            **({"of": dict(card.provenance)} if card else {}),
        },
        class_names=card.class_names if card else None,
    )


class Quality(TypedDict):
    """How well layers lie on the basis. numbers: values in them; r2: None if the layers are equal; random: what random layers give."""

    numbers: int
    r2: float | None
    random: float | None


class StageFitted(Quality):
    stage: str


class ModuleFitted(StageFitted):
    module: str


class FitReport(TypedDict):
    """What `tleg fit --json` prints. parameters: stored in the learngene; network_parameters: in the network it was fitted to."""

    file: str
    backbone: str
    options: dict[str, Any]
    basis: str
    depth: str
    parameters: int
    network_parameters: int
    modules: list[ModuleFitted]
    overall: list[StageFitted]


def fit_report(fitted: Fitted, file: Path) -> FitReport:
    """Plain values: each module and each stage with its R^2 and that of random layers."""
    by_module: dict[tuple[str, str], list[StackFit]] = defaultdict(list)
    by_stage: dict[str, list[StackFit]] = defaultdict(list)
    for stack in fitted.stacks:
        by_module[stack.stage, stack.module].append(stack)
        by_stage[stack.stage].append(stack)
    learngene = fitted.learngene
    return {
        "file": str(file),
        "backbone": learngene.metadata.backbone,
        "options": dict(learngene.metadata.options),
        "basis": learngene.basis.name,
        "depth": format_depth(learngene.metadata.depth),
        "parameters": learngene.parameters(),
        "network_parameters": sum(one.numbers for one in fitted.stacks)
        + sum(tensor.numel() for tensor in learngene.shared.values()),
        "modules": [
            {"stage": stage, "module": module, **_quality(stacks)} for (stage, module), stacks in by_module.items()
        ],
        "overall": [{"stage": stage, **_quality(stacks)} for stage, stacks in by_stage.items()],
    }


def _quality(stacks: Iterable[StackFit]) -> Quality:
    of = list(stacks)
    left, variation = sum(one.left for one in of), sum(one.variation for one in of)
    r2 = 1 - left / variation if variation else None
    return {"numbers": sum(one.numbers for one in of), "r2": r2, "random": of[0].random}


def option_values(settings: Iterable[str]) -> dict[str, Any]:
    """`num_heads=4` -> {"num_heads": 4}. Raises ConfigError for anything else."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--option {setting!r}: write --option KEY=VALUE, as in --option num_heads=4")
        read = read_yaml(value, f"--option {setting}")
        values[key.strip()] = tuple(read) if isinstance(read, list) else read
    return values
