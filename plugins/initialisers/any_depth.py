"""One training at a depth drawn for every step, with the residual step; no network is trained afterwards."""

from tleg_cli.api import SEPARATE, Initialiser, expand

_RULE = ("expansion.positions=ends", "expansion.step=1")

_BASES = [
    Initialiser(
        f"any-depth-{name}",
        f"one training at all depths, {words}",
        "https://arxiv.org/abs/2106.10820",
        expand,
        trained_at="all",
        basis=basis,
        settings=_RULE,
        share=1.0,
    )
    for name, basis, words in (
        ("constant", "constant", "one block for all positions"),
        ("linear", "linear", "a line through the blocks"),
        ("hat3", "hat:3", "three blocks and lines between them"),
    )
]
METHODS = [
    *_BASES,
    Initialiser(
        "any-depth-blocks", "one training at all depths, evenly spaced free blocks", "https://arxiv.org/abs/1909.11556",
        expand, trained_at="all", basis=SEPARATE, settings=("expansion.step=deeper",), share=1.0,
    ),
]  # fmt: skip
