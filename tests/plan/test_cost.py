"""What `tleg plan` counts without weights is what real networks have, multiply and keep."""

from functools import partial

import pytest
import timm
import torch

from tleg_cli import plugin_manager
from tleg_cli.models.build import build_model
from tleg_cli.plan.cost import Cost, _saved, cost_at, cost_of, forward_cost

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 3}


def vit() -> torch.nn.Module:
    return timm.create_model("vit_tiny_patch16_224", class_token=False, global_pool="avg", num_classes=10, **SMALL)


def test_parameters_and_multiplications_are_those_of_the_formula():
    cost = cost_of(vit, 32, "fp32")
    patches, dim = 16, 32
    block = 12 * dim * dim * patches + 2 * patches * patches * dim  # qkv, proj, mlp; scores and their product
    assert cost.macs == 3 * block + patches * dim * 3 * 8 * 8 + dim * 10
    assert cost.parameters == sum(parameter.numel() for parameter in vit().parameters())
    assert forward_cost(vit, 32) == (cost.parameters, cost.macs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kept_bytes_are_those_that_autograd_keeps(precision):
    cost = cost_of(vit, 32, precision)
    assert _saved(vit().train(), torch.zeros(7, 3, 32, 32), precision) == cost.kept + 7 * cost.kept_per_image


def test_half_precision_keeps_less_for_each_image_and_copies_of_weights():
    full, half = cost_of(vit, 32, "fp32"), cost_of(vit, 32, "bf16")
    assert half.kept_per_image < full.kept_per_image
    assert half.kept > full.kept


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [("levit_384", 39.13e6, 2.36), ("resnet26t", 16.01e6, None), ("swin_tiny_patch4_window7_224", 28.29e6, 4.51)],
)
def test_published_sizes(name, parameters, gmacs):
    counted = forward_cost(lambda: timm.create_model(name), 224)
    assert counted[0] == pytest.approx(parameters, rel=0.001)
    if gmacs:
        assert counted[1] / 1e9 == pytest.approx(gmacs, rel=0.01)


SMALLER = {"img_size": 64, "window_size": 4}  # where the backbone has such an option
STAGES = [(6, 1, 2, 1), (1, 2, 1, 7)]
DEEP = [("vit", (9,)), ("deit3", (6,)), ("beit", (7,)), ("eva02", (8,))]
DEEP += [(name, depth) for name in ("swin", "swinv2", "convnext", "convnextv2") for depth in STAGES]


@pytest.mark.parametrize(("name", "depth"), DEEP, ids=str)
def test_cost_at_a_depth_is_what_a_trace_of_that_depth_counts(name, depth):
    backbone = plugin_manager.get_backbone(name)
    options = {key: value for key, value in SMALLER.items() if key in backbone.options}
    traced = []

    def trace(few: tuple[int, ...]) -> Cost:
        traced.append(few)
        return cost_of(partial(build_model, backbone, options, few, 10, drop_path_rate=0.1), 64, "bf16")

    extrapolated = cost_at(trace, depth)
    assert max(map(max, traced)) <= 4
    assert extrapolated == trace(depth)
