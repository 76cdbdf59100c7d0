"""Every depth trained alone, with the teacher that all other methods have: the baseline that matters."""

from tleg_cli.api import Initialiser

METHODS = [
    Initialiser("distilled", "every depth trained alone, from the teacher", paper="https://arxiv.org/abs/1503.02531")
]
