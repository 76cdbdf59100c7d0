"""tleg: train one learngene, grow vision transformers of any depth from it."""

__version__ = "0.1.0"
