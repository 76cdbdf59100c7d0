"""A deep network is trained, then made usable at all depths by any-depth training, as `tleg adopt` does.

Shallower networks take its most important blocks, or evenly spaced ones. No network is trained afterwards.
"""

from tleg_cli.api import Initialiser, expand

_PAPER = "https://arxiv.org/abs/1909.11556"
_STEP = ("expansion.step=repeats",)

METHODS = [
    Initialiser(
        "adopt", "a trained deep network made usable at all depths (tleg adopt --pick every-nth)", _PAPER, expand,
        trained_at="deepest", then=_STEP, share=1.0,
    ),
    Initialiser(
        "adopt-ranked", "the same, blocks by importance (tleg adopt)", _PAPER, expand,
        trained_at="deepest", then=_STEP, share=1.0, ranked=True,
    ),
]  # fmt: skip
