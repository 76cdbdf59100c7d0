"""TLEG: block l of L is theta_B + (l / L) theta_A, as published and with the residual step of docs/method.md."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tleg_cli.api import Depth, Initialiser, expand

if TYPE_CHECKING:
    from torch import Tensor

    from tleg_cli.api import Learngene

_PAPER = "https://arxiv.org/abs/2312.05614"
_SHARE = 0.375  # the paper's: 150 epochs of 12 blocks, then 40 epochs of each of 3 to 12 blocks


def scaled(source: "Learngene", depth: "Depth") -> "Mapping[str, Tensor]":
    """The same learngene, read with positions `ends` and the residual step `scaled`."""
    return expand(source, depth, step="scaled")


METHODS = [
    Initialiser("tleg", "TLEG: a line through the blocks, as published", _PAPER, expand, basis="linear", share=_SHARE),
    Initialiser("tleg-scaled", "TLEG with the residual step", _PAPER, scaled, basis="linear", share=_SHARE),
]
