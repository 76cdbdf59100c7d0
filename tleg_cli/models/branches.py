"""The expansion rule of a network, and a learngene under another rule. A residual step needs branch ends that were checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.errors import PluginError
from tleg_cli.learngene.expansion import PUBLISHED, Expansion
from tleg_cli.learngene.gene import Learngene
from tleg_cli.learngene.residual_step import NO_STEP, SCALED
from tleg_cli.models.branch_ends import problem_with
from tleg_cli.models.network_check import is_checked


def rule_for(
    backbone_name: str, options: Mapping[str, Any], positions: str, step: str, checked: tuple[str, ...] = ()
) -> Expansion:
    """The expansion rule for a network of this backbone. checked: branch ends that were checked on this network before.

    Raises PluginError where a step is asked for and the backbone declares no branch ends, or wrong ones.
    """
    if step == NO_STEP:
        return Expansion(positions)
    backbone = plugin_manager.get_backbone(backbone_name)
    if not backbone.branch_ends:
        raise PluginError(
            f"backbone {backbone_name} declares no branch_ends, which the residual step needs; "
            "use step: none, or add branch_ends to its plugin (docs/plugins.md)"
        )
    if backbone.branch_ends != checked and (problem := problem_with(backbone_name, options)):
        raise PluginError(f"branch_ends of backbone {backbone_name}: {problem}")
    return Expansion(positions, step, backbone.branch_ends)


def reread(learngene: Learngene, positions: str | None, step: str | None) -> Learngene:
    """The learngene under another expansion rule, as --positions and --step ask for; what they leave open stays.

    step "scaled" takes the positions "ends" if no positions are given and the learngene has TLEG's: the pair that was measured.
    At the trained depth this changes nothing. Raises ConfigError or PluginError for a rule that this learngene can't have.
    """
    rule = learngene.expansion
    if positions is None and step is None:
        return learngene
    if positions is None:
        positions = "ends" if step == SCALED and rule.positions == PUBLISHED.positions else rule.positions
    metadata, note = learngene.metadata, learngene.network_check
    checked = note.branch_ends if note is not None and is_checked(learngene) else ()
    chosen = rule_for(metadata.backbone, metadata.options, positions, step or rule.step, checked)
    return replace(learngene, expansion=chosen)
