"""A deep network is trained, then made usable at all depths by any-depth training, as `tleg adopt` does.

No network is trained afterwards.
"""

from tleg_cli.api import Initialiser, expand

METHODS = [
    Initialiser(
        "adopt", "a trained deep network made usable at all depths (tleg adopt)", "https://arxiv.org/abs/1909.11556",
        expand, trained_at="deepest", then=("expansion.step=deeper",), share=1.0,
    )
]  # fmt: skip
