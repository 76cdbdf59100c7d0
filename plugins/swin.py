"""Swin and Swin V2: one learngene for each stage, with l / L counted within the stage; patch merging is shared.

Liu et al. 2021 (arXiv 2103.14030) and 2022 (arXiv 2111.09883). Position bias tables are weights of a block and are expanded too.
"""

from __future__ import annotations

from collections.abc import Iterable

from tleg_cli.api import Backbone, BlockLayout, hookimpl

_DEPTHS = {"tiny": (2, 2, 6, 2), "small": (2, 2, 18, 2), "base": (2, 2, 18, 2)}
_STAGES = tuple(f"layers.{stage}.blocks" for stage in range(4))
_SWIN, _SWINV2 = "swin_{}_patch4_window7_224", "swinv2_{}_window8_256"
_ALWAYS = {"drop_path_rate": 0.0}  # timm's Swin drops paths by default; here only the recipe decides
_HEAD = ("head.fc",)
_ENDS = {
    _SWIN: ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    _SWINV2: ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),  # V2 normalises at the end of a branch
}

_MLP = ("mlp.fc1", "mlp.fc2")
_LAYOUTS = {  # position bias tells heads apart
    _SWIN: BlockLayout(_MLP, norms=(("norm2", "mlp.fc1"),)),
    _SWINV2: BlockLayout(_MLP),
}


@hookimpl
def tleg_backbones() -> Iterable[Backbone]:
    """The published sizes, and `swin`, `swinv2` and their `_3_stages`, `_2_stages`, whose sizes are set by the preset."""
    for size, depths in _DEPTHS.items():
        for pattern, pixels in ((_SWIN, 224), (_SWINV2, 256)):
            name = pattern.format(size)
            more = (_ALWAYS, {"img_size": pixels}, _HEAD, _ENDS[pattern], _LAYOUTS[pattern])
            yield Backbone(name, name, _STAGES, "depths", depths, *more)
    for family, pattern in (("swin", _SWIN), ("swinv2", _SWINV2)):
        yield from (_free(family, pattern, stages) for stages in (4, 3, 2))


def _free(family: str, pattern: str, stages: int) -> Backbone:
    """A Swin with this many stages; the second to last is the deepest."""
    options = {
        "img_size": 224,
        "patch_size": 4,
        "window_size": 7,
        "embed_dim": 96,
        "num_heads": (3, 6, 12, 24)[:stages],
        "mlp_ratio": 4.0,
    }
    name = family if stages == 4 else f"{family}_{stages}_stages"
    usual = (2,) * (stages - 2) + (6, 2) if stages > 2 else (2, 6)
    more = (_ALWAYS, options, _HEAD, _ENDS[pattern], _LAYOUTS[pattern])
    return Backbone(name, pattern.format("tiny"), _STAGES[:stages], "depths", usual, *more)
