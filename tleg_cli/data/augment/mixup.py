"""mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899), as timm's Mixup(mode="batch").

timm's own draws from numpy's global state on the host; ours needs a generator, so that a resumed run draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Mixing:
    """mixup, cutmix: alpha of Beta(alpha, alpha), 0 for off.

    probability: that a batch is mixed. switch: probability of CutMix where both are on.
    """

    mixup: float
    cutmix: float
    probability: float
    switch: float


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Smoothed one-hot, (batch,) int64 -> (batch, classes) float32: smoothing / classes everywhere, and the rest on the label."""
    off = smoothing / classes
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


def own_share(mixing: Mixing, height: int, width: int, device: torch.device, generator: Generator) -> Tensor:
    """How much of each pixel stays, (height, width): lambda everywhere (mixup), or 0 in a box and 1 around it (CutMix).

    Its mean is the lambda of the targets; for CutMix that is timm's correction for boxes that the border cuts.
    """
    mixed, switch, y, x = torch.rand(4, device=device, generator=generator, dtype=torch.float64)
    if mixing.cutmix == 0:
        share = _beta(mixing.mixup, device, generator).float().expand(height, width)
    else:
        share = ~_box(_beta(mixing.cutmix, device, generator), y, x, height, width)
        if mixing.mixup > 0:
            share = torch.where(switch < mixing.switch, share, _beta(mixing.mixup, device, generator))
    return torch.where(mixed < mixing.probability, share, 1.0).float()


def _box(own: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """CutMix's box of area 1 - own around (y, x) in 0..1, cut at the border: (height, width) bool."""
    ratio = torch.sqrt(1 - own)
    rows, columns = (_span(at, ratio, side) for at, side in ((y, height), (x, width)))
    return rows.unsqueeze(1) & columns


def _span(at: Tensor, ratio: Tensor, side: int) -> Tensor:
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
