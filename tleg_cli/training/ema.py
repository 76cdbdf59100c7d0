"""The moving average of the weights (EMA), updated without asking the device whether the step was a good one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_unless(flag: Tensor, ema: Any, network: nn.Module, step: int) -> None:
    """timm's ModelEmaV3.update where `flag` is 0; where it is 1 nothing changes. flag: 0-d float32 on the device.

    ema + (1 - decay) * (network - ema), in three kernels for all weights; what isn't a floating-point number is copied.
    """
    mine, theirs = [], []
    for average, value in zip(ema.module.state_dict().values(), network.state_dict().values(), strict=True):
        if average.is_floating_point():
            mine.append(average)
            theirs.append(value)
        else:
            average.copy_(value)
    moved = torch._foreach_sub(theirs, mine)
    torch._foreach_mul_(moved, (1.0 - ema.get_decay(step)) * (1.0 - flag))
    torch._foreach_add_(mine, moved)
