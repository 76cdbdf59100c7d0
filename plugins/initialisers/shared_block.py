"""All blocks have the same weights, as in ALBERT; then every depth is trained with weights of its own."""

from tleg_cli.api import Initialiser, expand

METHODS = [
    Initialiser(
        "shared-block",
        "one block for all positions",
        "https://arxiv.org/abs/1909.11942",
        expand,
        basis="constant",
        share=0.375,
    )
]
