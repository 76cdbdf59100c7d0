"""mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899), as timm's Mixup(mode="batch").

timm's own draws from numpy's global state on the host; ours needs a generator, so that a resumed run draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Mixing:
    """mixup, cutmix: alpha of Beta(alpha, alpha), 0 for off.

    probability: that a batch is mixed. switch: probability of CutMix if both are on.
    """

    mixup: float
    cutmix: float
    probability: float
    switch: float


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Smoothed one-hot, (batch,) int64 -> (batch, classes) float32: smoothing / classes for each, and the rest for the label."""
    off = smoothing / classes
    if labels.device.type == "cpu":  # torch's threads would wait for each other, for milliseconds if cores are busy
        targets = torch.from_numpy(np.full((len(labels), classes), off, np.float32))
    else:
        targets = torch.full((len(labels), classes), off, device=labels.device)
    return targets.scatter_(1, labels.long().view(-1, 1), 1 - smoothing + off)


def mix(images: Tensor, targets: Tensor, mixing: Mixing, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mixes the batch with itself in reverse, all samples alike.

    images: (batch, channels, height, width) float; targets: (batch, classes). An odd batch mixes its middle with itself.
    """
    if mixing.mixup == 0 and mixing.cutmix == 0:
        return images, targets
    own = own_share(mixing, images.shape[2], images.shape[3], images.device, generator)
    return torch.lerp(images.flip(0), images, own), torch.lerp(targets.flip(0), targets, own.mean())


@dataclass(frozen=True)
class OwnShare:
    """How much of each pixel stays: 0 in a box (CutMix), `around` outside of it, which is lambda for mixup and else 1.

    rows: (height,) bool, columns: (width,) bool, of the box, which may be empty. around: 0-d float64.
    """

    rows: Tensor
    columns: Tensor
    around: Tensor

    def of_pixels(self) -> Tensor:
        """(height, width) float32. Its mean is the lambda of the targets; for CutMix that is timm's correction at borders."""
        return self.around.float().where(~(self.rows.unsqueeze(1) & self.columns), 0.0)


def own_share(mixing: Mixing, height: int, width: int, device: torch.device, generator: Generator) -> Tensor:
    """How much of each pixel stays, (height, width). See OwnShare."""
    return draw_share(mixing, height, width, device, generator).of_pixels()


def draw_share(mixing: Mixing, height: int, width: int, device: torch.device, generator: Generator) -> OwnShare:
    """One draw for all samples of a batch."""
    mixed, switch, y, x = torch.rand(4, device=device, generator=generator, dtype=torch.float64)
    happens = mixed < mixing.probability
    if mixing.cutmix == 0:
        cut, ratio = torch.zeros_like(happens), torch.zeros_like(y)
    else:
        cut = happens & (switch < mixing.switch) if mixing.mixup > 0 else happens
        ratio = torch.sqrt(1 - _beta(mixing.cutmix, device, generator))  # the box's area is 1 - lambda
    rows, columns = (_span(at, ratio, side) & cut for at, side in ((y, height), (x, width)))
    around = _beta(mixing.mixup, device, generator) if mixing.mixup > 0 else torch.ones_like(y)
    return OwnShare(rows, columns, around.where(happens & ~cut, 1.0))


def _span(at: Tensor, ratio: Tensor, side: int) -> Tensor:
    """CutMix's box along one side, (side,) bool: around `at` in 0..1, cut at the border. ratio: its length / side."""
    positions = torch.arange(side, device=at.device)
    centre, length = torch.floor(at * side), torch.floor(ratio * side)
    return (positions >= centre - length // 2) & (positions < centre + (length + 1) // 2)


def _beta(alpha: float, device: torch.device, generator: Generator) -> Tensor:
    """One draw from Beta(alpha, alpha), 0-d float64: g1 / (g1 + g2) of two gammas, in logarithms since small alphas underflow.

    Gamma(a) is Gamma(a + 1) * U^(1 / a) (Marsaglia & Tsang 2000).
    """
    shape = torch.full((2,), alpha + 1.0, dtype=torch.float64, device=device)
    above = torch._standard_gamma(shape, generator=generator)
    uniform = 1 - torch.rand(2, dtype=torch.float64, device=device, generator=generator)  # never 0
    logs = above.log() + uniform.log() / alpha
    return torch.sigmoid(logs[0] - logs[1])
