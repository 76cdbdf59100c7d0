"""Values that are not finite: noticed by all ranks before the step and written down, for on_nan.py to act on."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tleg_cli.files import write_text
from tleg_cli.training.distributed import World, gather, sum_over_ranks

MAX_ROLLBACKS = 3  # of one run: a fourth would hardly help
_REMEMBERED = 50  # steps
_LISTED = 20  # parameters, of hundreds


@dataclass(frozen=True)
class Norms:
    """total: of the complete gradient. by_name: of each parameter. All on the device: reading them makes the host wait."""

    total: Tensor
    by_name: Mapping[str, Tensor]


@dataclass
class Memory:
    """The last steps' loss, gradient norm and rate. Tensors: reading them would make the host wait."""

    steps: deque[tuple[int, Tensor, Tensor, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def add(self, step: int, loss: Tensor, norm: Tensor, lr: float) -> None:
        self.steps.append((step, loss, norm, lr))

    def lines(self) -> list[dict[str, Any]]:
        return [
            {"step": step, "loss": _plain(loss), "gradient_norm": _plain(norm), "lr": lr}
            for step, loss, norm, lr in self.steps
        ]


def gradient_norms(parameters: Mapping[str, nn.Parameter]) -> Norms:
    """Of the gradients as they are: unscaled, not clipped. parameters: by their names."""
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    norms = torch._foreach_norm(list(gradients.values()))
    return Norms(torch.linalg.vector_norm(torch.stack(norms)), dict(zip(gradients, norms, strict=True)))


def is_bad(loss: Tensor, norm: Tensor, scaler: torch.amp.GradScaler, world: World) -> bool:
    """Whether loss or gradient is not finite on any rank; the same answer on all. Waits for the device once.

    With fp16 a gradient that overflows is the GradScaler's business, until its scale can't fall any further.
    """
    flags = torch.stack([~torch.isfinite(loss), ~torch.isfinite(norm)]).float()
    bad_loss, bad_norm = sum_over_ranks(flags, world).tolist()
    return bool(bad_loss or (bad_norm and (not scaler.is_enabled() or scaler.get_scale() <= 1)))


def late_flags(loss: Tensor, norm: Tensor, scaler: torch.amp.GradScaler, world: World) -> tuple[Tensor, Tensor]:
    """Whether the step is bad, as is_bad says, and whether the optimiser must leave it out: 0-d float32 on the device, 0 or 1.

    The two differ with fp16 only, where an overflowing gradient is left out and the scale falls. Nothing is waited for.
    """
    flags = torch.stack([~torch.isfinite(loss), ~torch.isfinite(norm)]).float()
    bad_loss, bad_norm = sum_over_ranks(flags, world).clamp(max=1).unbind()
    left_out = torch.maximum(bad_loss, bad_norm)
    scale = scaler._get_scale_async() if scaler.is_enabled() else None  # get_scale() would wait
    return (left_out if scale is None else torch.maximum(bad_loss, bad_norm * (scale <= 1))), left_out


def write_down(folder: Path, facts: Mapping[str, Any], norms: Norms, loss: Tensor, memory: Memory, world: World) -> str:
    """Writes what led to it into `folder/bad-step-00000042.json`; every rank must call this. Returns the file's name.

    facts: step, epoch, lr, scale, what is done about it, and this rank's `samples`, whose ids lead to the images.
    """
    name = f"bad-step-{facts['step']:08d}.json"
    ranks = gather({"loss": _plain(loss), "samples": facts["samples"]}, world)
    if world.main:
        content = {
            **{key: value for key, value in facts.items() if key != "samples"},
            "gradient_norm": _plain(norms.total),
            "parameters": _worst(norms.by_name),
            "ranks": ranks,
            "before": memory.lines(),
        }
        write_text(folder / name, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return name


def _worst(by_name: Mapping[str, Tensor]) -> dict[str, float | str]:
    """The largest norms, those that are not finite first."""
    norms = {name: float(value) for name, value in by_name.items()}
    order = sorted(norms, key=lambda name: -norms[name] if math.isfinite(norms[name]) else -math.inf)
    return {name: _plain(norms[name]) for name in order[:_LISTED]}


def _plain(value: Tensor | float) -> float | str:
    """NaN and Inf as words: JSON can't hold them."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def bad_files(folder: Path) -> Sequence[Path]:
    """What was written down in a run folder, oldest first."""
    return sorted(folder.glob("bad-step-*.json"))
