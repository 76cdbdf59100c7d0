"""BEiT and EVA-02: their blocks have more weights than a ViT's (position bias, SwiGLU, layer scale); all of them are expanded.

Bao et al. 2021 (arXiv 2106.08254), Fang et al. 2023 (arXiv 2303.11331). EVA-02's rotary positions have no weights.
"""

from __future__ import annotations

from collections.abc import Iterable

from tleg_cli.api import Backbone, BlockLayout, hookimpl

_BEIT, _EVA02 = "beit_{}_patch16_224", "eva02_{}_patch14_224"
_GAMMAS = ("gamma_1", "gamma_2")  # BEiT's layer scale comes last in a branch
_ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")
_LAYOUT = BlockLayout(
    ("mlp.fc1", "mlp.fc2"), norms=(("norm2", "mlp.fc1"),)
)  # of BEiT; position bias tells its heads apart
_FREE = {"img_size": 224, "embed_dim": 192, "num_heads": 3}


@hookimpl
def tleg_backbones() -> Iterable[Backbone]:
    """`beit_{base,large}_patch16_224`, `eva02_{tiny,small,base,large}_patch14_224`; `beit`, `eva02` of any size."""
    for pattern, size in [(_BEIT, "base"), (_BEIT, "large")] + [
        (_EVA02, s) for s in ("tiny", "small", "base", "large")
    ]:
        name = pattern.format(size)
        depth = 24 if size == "large" else 12
        yield Backbone(
            name,
            timm_name=name,
            usual_depth=(depth,),
            options={"img_size": 224},
            branch_ends=_GAMMAS if pattern == _BEIT else _ENDS,
            layout=_LAYOUT if pattern == _BEIT else None,
        )
    yield Backbone(
        "beit",
        timm_name=_BEIT.format("base"),
        options={**_FREE, "patch_size": 16, "mlp_ratio": 4.0},
        branch_ends=_GAMMAS,
        layout=_LAYOUT,
    )
    yield Backbone(
        "eva02",
        timm_name=_EVA02.format("tiny"),
        options={**_FREE, "patch_size": 14, "mlp_ratio": 8 / 3},
        branch_ends=_ENDS,
    )
