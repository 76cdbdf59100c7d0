"""`tleg fit` as a library call: from a checkpoint file to a learngene, with how well it fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from tleg_cli.config_file import read_yaml
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.fit import Fitted, StackFit, fit
from tleg_cli.models.align_network import align_network, random_like
from tleg_cli.models.read_network import ReadNetwork, read_network


def fit_file(
    checkpoint: Path,
    basis: Basis,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
    which: str = "auto",
    *,
    align: bool = False,
) -> Fitted:
    """The learngene nearest to the network of a file. backbone, options: see recognise().

    which: auto (the moving average if there is one), raw or ema. align: first find equivalent weights that are nearer to the basis;
    the R^2 of random layers is then that of random layers which were aligned too.

    Raises FileFormatError for a file that is not a network of a registered backbone, ConfigError for a backbone or a basis
    that it isn't of, PluginError for a backbone that can't be aligned.
    """
    network = read_network(checkpoint, backbone, options, which)
    try:
        return fit_aligned(network, basis) if align else _fit(network, basis)
    except (FileFormatError, ConfigError) as error:
        raise type(error)(f"{checkpoint}: {error}") from None


def _fit(network: ReadNetwork, basis: Basis) -> Fitted:
    return fit(network.weights, network.stages, basis, network.metadata)


def fit_aligned(network: ReadNetwork, basis: Basis) -> Fitted:
    """See fit_file. Aligned, even random layers are nearer to a basis, so chance is measured."""
    fitted = _fit(align_network(network, basis), basis)
    chance = {stack.name: stack for stack in _fit(align_network(random_like(network), basis), basis).stacks}
    return replace(fitted, stacks=[replace(stack, random=chance[stack.name].r2) for stack in fitted.stacks])


_CLEARLY = (
    0.1  # of what chance leaves: trained freely, networks have about nothing; descendants of a learngene nearly all
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


def is_no_better_than_chance(report: FitReport) -> bool:
    """Whether in some stage the basis keeps hardly more of what distinguishes the layers than it would of random ones."""
    pairs = [(one["r2"], one["random"]) for one in report["overall"]]
    return any(r2 is not None and random is not None and r2 - random < _CLEARLY * (1 - random) for r2, random in pairs)


def _quality(stacks: Iterable[StackFit]) -> Quality:
    of = list(stacks)
    left, variation = sum(one.left for one in of), sum(one.variation for one in of)
    r2 = 1 - left / variation if variation else None
    return {"numbers": sum(one.numbers for one in of), "r2": r2, "random": _random(of)}


def _random(of: Sequence[StackFit]) -> float | None:
    """Of several stacks: the mean, each as far as its layers vary; stacks with equal layers don't count."""
    known = [(one.random, one.variation) for one in of if one.random is not None and one.variation > 0]
    total = sum(variation for _, variation in known)
    return sum(random * variation for random, variation in known) / total if total else of[0].random


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
