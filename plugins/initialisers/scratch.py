"""Every depth trained alone, from fresh weights and labels."""

from tleg_cli.api import Initialiser

METHODS = [Initialiser("scratch", "every depth trained alone, from labels", teacher=False)]
