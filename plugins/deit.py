"""DeiT and plain ViTs, built by timm with mean pooling over the patches and without a class token, as in TLEG.

`deit_*_token` have a class token, as published DeiT and ViT checkpoints do, `deit_*_distilled` two tokens and two heads, and
`vit_timm` is any plain ViT of timm (patch 32, register tokens, another final norm, ...); they are meant for `tleg fit`.
DeiT-III (Touvron et al. 2022, arXiv 2204.07118) has layer scale in its blocks, which is expanded, and keeps its class token.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from tleg_cli.api import Backbone, BlockLayout, hookimpl

_NO_CLASS_TOKEN = {"class_token": False, "global_pool": "avg"}
_SIZES = ("tiny", "small", "base")
_ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")
_LAYOUT = BlockLayout(
    mlp=("mlp.fc1", "mlp.fc2"),
    attention=("attn.qkv", "attn.proj"),
    norms=(("norm1", "attn.qkv"), ("norm2", "mlp.fc1")),
)
_vit = partial(Backbone, branch_ends=_ENDS, layout=_LAYOUT)
_TWO_HEADS = ("head", "head_dist")
_SCALED = ("ls1.gamma", "ls2.gamma")  # layer scale comes last in a branch
_deit3 = partial(Backbone, branch_ends=_SCALED, layout=_LAYOUT)
_DISTILLED = "deit_{}_distilled_patch16_224"
_FREE = {"img_size": 224, "patch_size": 16, "embed_dim": 192, "num_heads": 3, "mlp_ratio": 4.0}


# what timm's VisionTransformer can be besides its sizes; `tleg fit` finds the values in a checkpoint's names and shapes
_VARIANTS = {
    "class_token": True,
    "reg_tokens": 0,
    "no_embed_class": False,
    "global_pool": "token",
    "fc_norm": False,
    "pre_norm": False,
    "qkv_bias": True,
    "qk_norm": False,
    "init_values": None,
}


@hookimpl
def tleg_backbones() -> Iterable[Backbone]:
    """`deit_{tiny,small,base}_patch16_224`, their variants, `deit3_*`, and `vit`, `vit_timm` and others of any size."""
    for size in _SIZES:
        name = f"deit_{size}_patch16_224"
        yield _vit(name, timm_name=name, arguments=_NO_CLASS_TOKEN, options={"img_size": 224})
        yield _vit(f"{name}_token", timm_name=name, options={"img_size": 224})
        distilled = _DISTILLED.format(size)
        yield _vit(distilled, distilled, options={"img_size": 224}, head=_TWO_HEADS)
    yield _vit("deit_distilled", _DISTILLED.format("tiny"), options=_FREE, head=_TWO_HEADS)
    yield _vit("vit", timm_name="vit_tiny_patch16_224", arguments=_NO_CLASS_TOKEN, options=_FREE)
    for size, blocks in (("small", 12), ("medium", 12), ("base", 12), ("large", 24)):
        name = f"deit3_{size}_patch16_224"
        yield _deit3(name, timm_name=name, usual_depth=(blocks,), options={"img_size": 224})
    yield _deit3("deit3", timm_name="deit3_small_patch16_224", options=_FREE)
    variants = {**_FREE, **_VARIANTS}
    yield _vit("vit_timm", timm_name="vit_tiny_patch16_224", options=variants)
