"""Which blocks of a trained network matter: those whose absence changes its decisions most, found by leaving them out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANKING_BATCHES = 4  # of the training images


def passes(blocks: int) -> int:
    """How often one batch goes forward through a block to rank so many blocks: first all, then without one, without two, ..."""
    return blocks + sum(left * (left - 1) for left in range(2, blocks + 1))


def rank_blocks(model: nn.Module, blocks: Sequence[nn.Module], batches: Sequence[Tensor]) -> list[int]:
    """The numbers of the blocks, the most important first.

    One block after another is left out, each time the one without which the logits change least, as KL divergence from the complete
    network's. (ShortGPT, arXiv 2403.03853, ranks all blocks at once, by how much each changes the stream.)
    blocks: in their order, each giving back tensors of the shape it takes. batches: normalised images (batch, 3, size, size).
    """
    model.eval()
    with torch.no_grad():
        complete = [F.log_softmax(model(images).float(), dim=1) for images in batches]
        removed: list[int] = []
        while len(removed) < len(blocks) - 1:
            left = [block for block in range(len(blocks)) if block not in removed]
            changes = {
                block: _change(model, [blocks[one] for one in (*removed, block)], batches, complete) for block in left
            }
            removed.append(min(left, key=lambda block: changes[block]))
    last = next(block for block in range(len(blocks)) if block not in removed)
    return [last, *reversed(removed)]


def _change(
    model: nn.Module, skipped: Sequence[nn.Module], batches: Sequence[Tensor], complete: Sequence[Tensor]
) -> float:
    """The mean KL divergence of the logits without these blocks."""
    for block in skipped:
        block.forward = lambda inputs, *others, **more: inputs
    try:
        divergence = [
            F.kl_div(F.log_softmax(model(images).float(), dim=1), target, reduction="batchmean", log_target=True)
            for images, target in zip(batches, complete, strict=True)
        ]
    finally:
        for block in skipped:
            del block.forward
    return float(torch.stack(divergence).mean())
