"""What a step of any-depth training costs: steps at depths 3 to 12 of one aux net against those of ten aux nets of one depth each.

python -m benchmarks.any_depth_step [REPEATS]    prints both times and their ratio, which should be at most 1.05

The two take turns at every depth, so a busy machine slows both down. DeiT-Ti on 96 x 96 pixels: forward, backward and AdamW.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch

from tleg_cli import plugin_manager
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import AuxNet, new_aux_net
from tleg_cli.models.branches import rule_for

NAME, OPTIONS, PIXELS, BATCH = "deit_tiny_patch16_224", {"img_size": 96}, 96, 8
DEPTHS = [(depth,) for depth in range(3, 13)]
LIMIT = 1.05


def make(depth: tuple[int, ...], depths: list[tuple[int, ...]]) -> tuple[AuxNet, torch.optim.Optimizer]:
    spec = InputSpec(PIXELS, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0)
    metadata = Metadata(NAME, OPTIONS, depth, 100, spec)
    basis, rule = plugin_manager.get_basis("linear"), rule_for(NAME, OPTIONS, "ends", "1")
    network = new_aux_net(plugin_manager.get_backbone(NAME), basis, metadata, rule, depths)
    return network, torch.optim.AdamW(network.parameters(), lr=1e-4)


def step(network: AuxNet, optimizer: torch.optim.Optimizer, images: torch.Tensor, depth: tuple[int, ...]) -> float:
    began = time.perf_counter()
    network(images, depth).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - began


def main() -> int:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    any_depth = make((6,), DEPTHS)
    fixed = {depth: make(depth, []) for depth in DEPTHS}
    images = torch.randn(BATCH, 3, PIXELS, PIXELS)
    seconds: dict[tuple[str, tuple[int, ...]], list[float]] = {}
    for repeat in range(repeats + 1):
        for depth in DEPTHS:
            for name, made in (("any", any_depth), ("fixed", fixed[depth])):
                took = step(*made, images, depth)
                if repeat:  # the first warms up
                    seconds.setdefault((name, depth), []).append(took)
    means = {name: sum(median(seconds[name, depth]) for depth in DEPTHS) / len(DEPTHS) for name in ("any", "fixed")}
    ratio = means["any"] / means["fixed"]
    print(
        f"mean step over depths 3 to 12: any-depth {1e3 * means['any']:.1f} ms, fixed depth {1e3 * means['fixed']:.1f} ms"
    )
    print(f"ratio {ratio:.3f} (limit {LIMIT})")
    return ratio > LIMIT


if __name__ == "__main__":
    sys.exit(main())
