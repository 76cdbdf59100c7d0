"""FNet for images: blocks mix their tokens by a Fourier transform, without weights (Lee-Thorp et al. 2021)."""

import torch
from timm.layers import Mlp, PatchEmbed
from timm.models import register_model
from torch import nn

from tleg_cli.api import Backbone, hookimpl


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.norm2, self.mlp = nn.LayerNorm(dim), nn.LayerNorm(dim), Mlp(dim, 4 * dim)

    def forward(self, x):
        x = x + torch.fft.fft2(self.norm1(x).float(), norm="ortho").real
        return x + self.mlp(self.norm2(x))


class FNet(nn.Module):
    def __init__(self, img_size=224, patch_size=16, embed_dim=192, depth=12, num_classes=1000):
        super().__init__()
        self.patch_embed = PatchEmbed(img_size, patch_size, embed_dim=embed_dim)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, self.patch_embed.num_patches, embed_dim))
        self.blocks = nn.Sequential(*(Block(embed_dim) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(embed_dim), nn.Linear(embed_dim, num_classes)

    def forward(self, images):
        return self.head(self.norm(self.blocks(self.patch_embed(images) + self.pos_embed)).mean(1))


@register_model
def fnet(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **options):
    return FNet(**options)


@hookimpl
def tleg_backbones():
    return [Backbone("fnet", timm_name="fnet", options={"img_size": 224, "patch_size": 16, "embed_dim": 192})]
