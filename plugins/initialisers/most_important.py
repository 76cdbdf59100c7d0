"""The most important blocks of a trained deep network, as ShortGPT cuts it (Men et al. 2024), here one block after another.

ShortGPT ranks all blocks at once, by how much each changes the stream; `tleg adopt` and this leave out the block that changes the
logits least, then the next one.
"""

from tleg_cli.api import Initialiser, expand

METHODS = [
    Initialiser(
        "most-important", "the most important blocks of a trained deep network", "https://arxiv.org/abs/2403.03853",
        expand, trained_at="deepest", share=0.375, ranked=True,
    )
]  # fmt: skip
