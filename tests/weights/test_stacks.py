"""Which tensors are layers of one stack, for unknown layouts."""

import pytest
import timm

from tleg_cli.weights.stacks import find_stacks


def shapes_of(name: str, **options: object) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in timm.create_model(name, **options).state_dict().items()}


def test_a_vit_is_one_stage():
    stacks = find_stacks(shapes_of("vit_tiny_patch16_224", depth=11, embed_dim=48))
    assert {stack.stage for stack in stacks} == {"blocks"}
    assert all(stack.layers == tuple(range(11)) for stack in stacks)
    qkv = next(stack for stack in stacks if stack.name == "blocks.*.attn.qkv.weight")
    assert (qkv.module, qkv.shape, qkv.members[10]) == ("attn.qkv", (144, 48), "blocks.10.attn.qkv.weight")


def test_a_swin_has_its_stages():
    shapes = shapes_of("swin_tiny_patch4_window7_224", depths=(1, 2, 3), embed_dim=24, num_heads=(1, 2, 4))
    found = {stack.stage: len(stack.layers) for stack in find_stacks(shapes)}
    assert found == {"layers.0.blocks": 1, "layers.1.blocks": 2, "layers.2.blocks": 3}


@pytest.mark.parametrize("depth", [1, 2, 100])
def test_any_depth(depth):
    assert {
        len(stack.layers) for stack in find_stacks(shapes_of("vit_tiny_patch16_224", depth=depth, embed_dim=12))
    } == {depth}


def test_numbered_parts_that_are_no_blocks_are_no_stack():
    assert find_stacks({"head.0.weight": (5, 3), "head.2.weight": (2, 5), "head.2.bias": (2,)}) == []
    assert find_stacks({}) == []
    assert find_stacks({"weight": (3,)}) == []


def test_a_tensor_that_only_some_blocks_have_is_no_layer():
    shapes = {f"blocks.{n}.{part}": (4,) for n in range(3) for part in ("a", "b", "c")}
    shapes |= {"blocks.1.extra": (4,), "blocks.2.a": (5,)}
    assert [stack.name for stack in find_stacks(shapes)] == ["blocks.*.b", "blocks.*.c"]


def test_asked_places_are_taken_as_they_are():
    shapes = {"blocks.0.x.weight": (2,), "blocks.1.x.weight": (2,), "other.0.y": (2,), "other.1.y": (2,)}
    assert [stack.name for stack in find_stacks(shapes, ("other",))] == ["other.*.y"]


@pytest.mark.parametrize("number", ["01", "²", "1_0", "-1"])
def test_only_plain_numbers_are_blocks(number):
    assert find_stacks({"blocks.0.x": (2,), f"blocks.{number}.x": (2,)})[0].layers == (0,)
