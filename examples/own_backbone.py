"""A network that timm has, as a backbone: a ViT with relative instead of absolute positions (vit_relpos_*).

    pip install -e ./examples
    tleg train-teacher --preset digits --data digits --out runs/teacher
    tleg train-aux --preset digits --data digits --teacher runs/teacher/teacher.safetensors --set backbone.name=vit_relpos --out runs/relpos
    tleg expand runs/relpos/learngene.pt --depth 3-12 --out runs/relpos/networks

timm has to build it at any depth, from equal blocks that are in one list (here `model.blocks`); docs/plugins.md has the other rules.
"""

from tleg_cli.api import Backbone, hookimpl


@hookimpl
def tleg_backbones():
    sizes = {"img_size": 224, "patch_size": 16, "embed_dim": 192, "num_heads": 3}  # a preset may change these
    ends = ("ls1.gamma", "ls2.gamma")  # optional: the weights that end a block's residual branches, for --step
    return [Backbone("vit_relpos", timm_name="vit_relpos_small_patch16_224", options=sizes, branch_ends=ends)]
