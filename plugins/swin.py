"""Swin and Swin V2: one learngene for each stage, l / L counted inside it; patch merging is shared.

Liu et al. 2021 (arXiv 2103.14030) and 2022 (arXiv 2111.09883). Position bias tables are weights of a block and are expanded.
"""

from __future__ import annotations

from collections.abc import Iterable

from tleg_cli.hookspecs import Backbone, hookimpl

_DEPTHS = {"tiny": (2, 2, 6, 2), "small": (2, 2, 18, 2), "base": (2, 2, 18, 2)}
_STAGES = tuple(f"layers.{stage}.blocks" for stage in range(4))
_HEAD = ("head.fc",)


@hookimpl
def tleg_backbones() -> Iterable[Backbone]:
    """The published sizes, and `swin`, `swin_3_stages`, `swin_2_stages`, whose sizes the preset states."""
    for size, depths in _DEPTHS.items():
        for name, pixels in ((f"swin_{size}_patch4_window7_224", 224), (f"swinv2_{size}_window8_256", 256)):
            yield Backbone(name, name, _STAGES, "depths", depths, options={"img_size": pixels}, head=_HEAD)
    for count, name in ((4, "swin"), (3, "swin_3_stages"), (2, "swin_2_stages")):
        options = {
            "img_size": 224,
            "patch_size": 4,
            "window_size": 7,
            "embed_dim": 96,
            "num_heads": (3, 6, 12, 24)[:count],
            "mlp_ratio": 4.0,
        }
        usual = (2,) * (count - 2) + (6, 2) if count > 2 else (2, 6)
        yield Backbone(
            name, "swin_tiny_patch4_window7_224", _STAGES[:count], "depths", usual, options=options, head=_HEAD
        )
