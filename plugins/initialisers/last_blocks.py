"""Heur-LG: the last blocks of a trained deep network on top of fresh ones (Wang et al., AAAI 2022)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tleg_cli.api import Depth, Initialiser, expand, fresh_weights

if TYPE_CHECKING:
    from torch import Tensor

    from tleg_cli.api import Learngene

KEPT = 3  # blocks at most, the paper's learngene


def grow(source: "Learngene", depth: "Depth") -> "Mapping[str, Tensor]":
    """Of every stage the last blocks and everything outside the blocks, in a network that is fresh otherwise."""
    trained, grown = expand(source, source.metadata.depth), fresh_weights(source, depth)
    for name in source.theta:
        stage = source.stage_of(name)
        assert stage is not None
        blocks, all_ = depth[stage], source.metadata.depth[stage]
        for place in range(1, min(KEPT, blocks, all_) + 1):
            grown[name.replace("*", str(blocks - place))] = trained[name.replace("*", str(all_ - place))]
    return {**grown, **source.shared}


METHODS = [
    Initialiser(
        "last-blocks", "the last three blocks of a trained deep network on fresh ones (Heur-LG)",
        "https://arxiv.org/abs/2106.06788", grow, trained_at="deepest", share=0.375,
    )
]  # fmt: skip
