"""TensorBoard and Weights & Biases as trackers of trainings: `--set 'trackers=[tensorboard]'`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tleg_cli.api import ConfigError, Tracker, hookimpl
from tleg_cli.hookspecs import OpenTracker


class _TensorBoard:
    """Event files in `tensorboard/` inside the run folder; `tensorboard --logdir RUN` shows them."""

    def __init__(self, writer: Any):
        self.writer = writer

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


def _tensorboard() -> OpenTracker:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("the tracker tensorboard needs the package tensorboard: pip install 'tleg[track]'") from error

    def open_tracker(folder: Path, config: Mapping[str, Any], step: int) -> Tracker:
        # of a resumed training, what was recorded after its checkpoint is taken back
        return _TensorBoard(SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None))

    return open_tracker


class _WandB:
    """One run of Weights & Biases for one run folder, continued when the training is. WANDB_PROJECT, WANDB_MODE as usual."""

    def __init__(self, run: Any):
        self.run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


def _wandb() -> OpenTracker:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError("the tracker wandb needs the package wandb: pip install 'tleg[track]'") from error

    def open_tracker(folder: Path, config: Mapping[str, Any], step: int) -> Tracker:
        place = folder.resolve()
        run = wandb.init(
            dir=str(place),
            name=place.name,
            id=hashlib.sha256(str(place).encode()).hexdigest()[:16],
            resume="allow",
            config=dict(config),
        )
        return _WandB(run)

    return open_tracker


@hookimpl
def tleg_trackers() -> list[tuple[str, Callable[[], OpenTracker]]]:
    return [("tensorboard", _tensorboard), ("wandb", _wandb)]
