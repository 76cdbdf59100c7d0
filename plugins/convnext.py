"""ConvNeXt and ConvNeXt V2, convolutional networks of four stages: one learngene for each; what is between them is shared.

Liu et al. 2022 (arXiv 2201.03545), Woo et al. 2023 (arXiv 2301.00808). Their blocks store no buffers, so every tensor is expanded.
"""

from __future__ import annotations

from collections.abc import Iterable

from tleg_cli.api import Backbone, hookimpl

_STAGES = tuple(f"stages.{stage}.blocks" for stage in range(4))
_DEPTHS = {"atto": (2, 2, 6, 2), "tiny": (3, 3, 9, 3), "small": (3, 3, 27, 3), "base": (3, 3, 27, 3)}
_HEAD = ("head.fc",)
_ENDS = {"convnext": ("gamma",), "convnextv2": ("mlp.fc2.weight", "mlp.fc2.bias")}  # V1 has layer scale


@hookimpl
def tleg_backbones() -> Iterable[Backbone]:
    """`convnext_{atto,tiny,small,base}`, `convnextv2_*`, and `convnext`, `convnextv2`, whose widths are set by the preset."""
    for family in ("convnext", "convnextv2"):
        for size, depths in _DEPTHS.items():
            yield Backbone(
                f"{family}_{size}", f"{family}_{size}", _STAGES, "depths", depths, head=_HEAD, branch_ends=_ENDS[family]
            )
        options = {"dims": (40, 80, 160, 320), "patch_size": 4, "kernel_sizes": 7}
        yield Backbone(
            family,
            f"{family}_atto",
            _STAGES,
            "depths",
            (2, 2, 6, 2),
            options=options,
            head=_HEAD,
            branch_ends=_ENDS[family],
        )
