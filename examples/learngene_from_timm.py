"""A learngene from a timm model that is already trained, and networks of other depths from it. No data, no training: seconds.

    python examples/learngene_from_timm.py vit_tiny_patch16_224 runs/from-timm --pretrained

Without --pretrained the weights are random, which needs no download and shows only that everything fits together.
The printed R2 says how much of what distinguishes the layers is kept: 1 is everything. Networks trained freely are not linear
in depth, so expect little, and train the results (`tleg train-des`) before you use them.
"""

import argparse
from pathlib import Path

import timm
import torch

import tleg_cli.api as tleg


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a ViT, DeiT, Swin, ConvNeXt, ... of timm")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pretrained", action="store_true", help="download timm's weights")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pth"
    torch.save(timm.create_model(options.model, pretrained=options.pretrained).state_dict(), checkpoint)

    fitted = tleg.fit(checkpoint, basis="linear")
    tleg.write_learngene(fitted.learngene, options.out / "learngene.pt")
    kept = 1 - sum(stack.left for stack in fitted.stacks) / sum(stack.variation for stack in fitted.stacks)
    print(f"{options.out / 'learngene.pt'}: R2 = {kept:.3f} over all layers")

    for depth in (3, 6, 9):
        model = tleg.create(fitted.learngene, depth)
        print(f"depth {depth}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
