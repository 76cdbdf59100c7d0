"""DeiT and plain ViTs as timm builds them: mean pooling over the patches and no class token, as in TLEG."""

from __future__ import annotations

from collections.abc import Iterable

from tleg_cli.hookspecs import Backbone, hookimpl

_NO_CLASS_TOKEN = {"class_token": False, "global_pool": "avg"}
_SIZES = ("tiny", "small", "base")


@hookimpl
def tleg_backbones() -> Iterable[Backbone]:
    """`deit_{tiny,small,base}_patch16_224`, and `vit`, whose size the preset states."""
    for size in _SIZES:
        name = f"deit_{size}_patch16_224"
        yield Backbone(name, timm_name=name, arguments=_NO_CLASS_TOKEN, options={"img_size": 224})
    yield Backbone(
        "vit",
        timm_name="vit_tiny_patch16_224",
        arguments=_NO_CLASS_TOKEN,
        options={"img_size": 224, "patch_size": 16, "embed_dim": 192, "num_heads": 3, "mlp_ratio": 4.0},
    )
