"""How long `tleg adopt` takes to make a learngene of a network of full size, with how much memory, and whether the logits are the same.

    python -m benchmarks.exact_start deit_small_patch16_224
    python -m benchmarks.exact_start deit_small_patch16_224 --align

The network is timm's, with random weights that are drawn here; its file is written first and doesn't count.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from tleg_cli.models.adopt import adopt_network, start_of
from tleg_cli.models.descendant import expanded_model

MIB = 1 << 20


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="timm's name")
    parser.add_argument("--align", action="store_true", help="also match the blocks")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = timm.create_model(options.name).eval()
    size = network.pretrained_cfg["input_size"][-1]
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        logits = network(images)
        file = Path(folder) / "network.safetensors"
        save_file(network.state_dict(), file)
        del network
        before, began = peak(), time.process_time()
        learngene = start_of(adopt_network(file).learngene, align=options.align)
        seconds, more = time.process_time() - began, peak() - before
        print(
            f"{options.name}{' --align' if options.align else ''}: {learngene.metadata.backbone}, {file.stat().st_size / MIB:.0f} MiB; "
            f"{seconds:.1f} s of processor time, {more:.0f} MiB more memory (peak {peak():.0f} MiB)"
        )
        again = expanded_model(learngene, learngene.metadata.depth).eval()(images)
    print(
        f"largest difference of a logit: {float((again - logits).abs().max()):.2g} (logits up to {float(logits.abs().max()):.2g})"
    )


if __name__ == "__main__":
    main()
