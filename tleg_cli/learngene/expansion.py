"""How a learngene is read at another depth than it was trained at: where blocks are on the curve, and how far each one goes.

A stack of residual blocks is a curve sampled at L points, x <- x + f(x; W(t_l)). TLEG as published samples it at t_l = l / L and
leaves the size of a step as it was; docs/method.md derives the rest. At the trained depth R every rule gives the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.basis import Basis, positions
from tleg_cli.learngene.residual_step import NO_STEP, REPEATS, check_step, power_of

POSITIONS = ("tleg", "ends", "unit")


@dataclass(frozen=True)
class Expansion:
    """The rule in addition to the basis. The defaults are TLEG as published (AAAI 2024, eq. 2).

    positions: "tleg" t_l = l / L; "ends" t_l = l / (L - 1) * (R - 1) / R, so that every depth runs from the first trained block to
    the last; "unit" t_l = l / (L - 1), for a learngene that was trained at several depths. One block is at 0.
    step: what a block adds to the residual stream is multiplied by (R / L) ** p: "none" p = 0; "scaled" p = 1 for L >= R, else 0.5;
    "deeper" p = 1 for L > R, else 0, for blocks that are repeated or left out; or p. "repeats" leaves a block that is taken once as it
    is, and gives each of n repetitions 1 / n of the step; only for bases that take blocks one by one (piecewise, ranked).
    branch_ends: the weights of a block that end a residual branch, which take the step: ("attn.proj.weight", ...).
    """

    positions: str = "tleg"
    step: str = NO_STEP
    branch_ends: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ConfigError(f"positions {self.positions!r}: write {', '.join(POSITIONS)}")
        check_step(self.step)

    def matrix(self, basis: Basis, depth: int, trained: int) -> Tensor:
        """(depth, rank) float64: the coefficients of a stage of `depth` blocks that was trained with `trained` blocks.

        Raises ConfigError if the basis has TLEG's positions only.
        """
        if self.positions == "tleg":
            return basis.matrix(depth)
        if basis.at is None:
            raise ConfigError(f"basis {basis.name} is given for l / L only; use positions: tleg")
        return basis.at(positions_at(self.positions, depth, trained))

    def steps(self, rows: Tensor, trained: Tensor) -> Tensor:
        """(depth,) float64: what the residual branches of each block are multiplied by; 1 at the trained depth.

        rows: (depth, rank), trained: (trained depth, rank), the coefficients of the blocks. Raises ConfigError for step "repeats" and
        blocks that are mixtures.
        """
        if self.step == REPEATS:
            return _shares(rows, trained)
        scale = (len(trained) / len(rows)) ** power_of(self.step, len(rows), len(trained))
        return torch.full((len(rows),), scale, dtype=torch.float64)


def _shares(rows: Tensor, trained: Tensor) -> Tensor:
    """(depth,) float64: how often the trained network takes each row's block, by how often the rows do, and at most 1.

    Each row is of zeros and a single 1. A theta that the trained network doesn't take is a copy of the last one before it that it does:
    full_rank stores the blocks of shorter stages so.
    """
    ones = [F.one_hot(matrix.argmax(1), matrix.shape[1]).to(matrix.dtype) for matrix in (rows, trained)]
    if not all(map(torch.equal, (rows, trained), ones)):
        raise ConfigError(
            f"step {REPEATS} needs a basis that takes blocks one by one (piecewise, ranked), and this one mixes them; "
            "use step: 1 or scaled"
        )
    taken = trained.argmax(1).unique()  # sorted
    block, own = (
        (torch.searchsorted(taken, matrix.argmax(1), right=True) - 1).clamp(min=0) for matrix in (rows, trained)
    )
    share = own.bincount(minlength=len(taken)) / block.bincount(minlength=len(taken)).double()
    return share.clamp(max=1)[block]


def expansion_values(rule: Expansion) -> dict[str, Any]:
    """Plain values, as checked_expansion reads them."""
    return {"positions": rule.positions, "step": rule.step, "branch_ends": list(rule.branch_ends)}


def checked_expansion(values: Any) -> Expansion:
    """The rule that a file holds. Raises FileFormatError that names what is wrong; None is TLEG as published."""
    if values is None:
        return PUBLISHED
    names = values.get("branch_ends") if isinstance(values, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileFormatError(f"expansion {repr(values)[:80]} should be a table of positions, step and branch_ends")
    try:
        rule = Expansion(str(values.get("positions")), str(values.get("step")), tuple(names))
    except ConfigError as error:
        raise FileFormatError(f"expansion {error}") from None
    if rule.step != NO_STEP and not names:
        raise FileFormatError(f"expansion step {rule.step} needs branch_ends, and there are none")
    return rule


def positions_at(rule: str, depth: int, trained: int) -> Tensor:
    """(depth,) float64: t_l of each block. See Expansion."""
    if rule == "tleg":
        return positions(depth)
    if depth == 1:
        return torch.zeros(1, dtype=torch.float64)
    blocks = torch.arange(depth, dtype=torch.float64)
    if rule == "ends":  # in this order, so that depth == trained is l / L to the last bit
        return blocks / depth if depth == trained else blocks / (depth - 1) * ((trained - 1) / trained)
    return blocks / (depth - 1)


def ends_a_branch(name: str, branch_ends: Sequence[str]) -> bool:
    """Whether `blocks.*.attn.proj.weight` is one of `attn.proj.weight`, ..."""
    return name.partition(".*.")[2] in branch_ends


PUBLISHED = Expansion()  # TLEG, AAAI 2024
