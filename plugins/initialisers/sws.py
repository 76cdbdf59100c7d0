"""SWS: the blocks of each third of the network share their weights while the learngene is trained (Xia et al. 2024)."""

from tleg_cli.api import Initialiser, expand

METHODS = [
    Initialiser(
        "sws", "blocks of a third of the network share weights", "https://arxiv.org/abs/2404.16897", expand,
        basis="piecewise:3", share=0.375,
    )
]  # fmt: skip
