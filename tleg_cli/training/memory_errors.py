"""Too little memory, in one line: what a GPU's and a processor's allocator raise, and the way out."""

from __future__ import annotations

import torch

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import format_depth
from tleg_cli.training.job import Job


def refuse_lack_of_memory(error: RuntimeError, job: Job) -> None:
    """Raises ConfigError if the error says that memory was lacking."""
    if not is_lack_of_memory(error):
        return
    deepest = (
        "" if job.draw is None else f" and the deepest network has {format_depth(max(job.draw.all, key=sum))} blocks"
    )
    raise ConfigError(
        f"the memory is too small: batch_size is {job.recipe.batch_size}{deepest}; lower one of them (with accumulation=2, half the "
        "batch_size takes the same steps)"
    ) from error


def is_lack_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
