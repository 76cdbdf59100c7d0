"""Alignment: the same function, and blocks that are equal but for their order and axes are found to be equal."""

import pytest
import torch

from tleg_cli.align.align import align_blocks
from tleg_cli.align.fold_norms import fold_norm
from tleg_cli.align.heads import match_heads, permute_heads, rotate_heads
from tleg_cli.align.units import match_units, permute_units
from tleg_cli.hookspecs import BlockLayout
from tleg_cli.learngene.basis import get_basis

MLP, ATTENTION = ("mlp.fc1", "mlp.fc2"), ("attn.qkv", "attn.proj")
LAYOUT = BlockLayout(MLP, ATTENTION, (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")))
WIDTH, HEADS, UNITS = 16, 4, 24
SHAPES = {
    "norm1.weight": (WIDTH,), "norm1.bias": (WIDTH,), "attn.qkv.weight": (3 * WIDTH, WIDTH), "attn.qkv.bias": (3 * WIDTH,),
    "attn.proj.weight": (WIDTH, WIDTH), "attn.proj.bias": (WIDTH,), "norm2.weight": (WIDTH,), "norm2.bias": (WIDTH,),
    "mlp.fc1.weight": (UNITS, WIDTH), "mlp.fc1.bias": (UNITS,), "mlp.fc2.weight": (WIDTH, UNITS), "mlp.fc2.bias": (WIDTH,),
}  # fmt: skip


def random_block(seed=0, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def rotations(generator, count=HEADS, axes=WIDTH // HEADS):
    return torch.linalg.qr(torch.randn(count, axes, axes, generator=generator, dtype=torch.float64)).Q


def scrambled(block, seed):
    """An equivalent block: other orders, other axes."""
    generator = torch.Generator().manual_seed(seed)
    block = permute_units(block, MLP, torch.randperm(UNITS, generator=generator))
    block = permute_heads(block, ATTENTION, HEADS, torch.randperm(HEADS, generator=generator))
    return rotate_heads(block, ATTENTION, rotations(generator), rotations(generator))


def nearly_equal(one, other):
    return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-9) for name in one)


def output(block, tokens):
    """A pre-norm block with LayerNorm and GELU, written out. tokens: (batch, tokens, width)."""

    def norm(name, x):
        return torch.nn.functional.layer_norm(x, (WIDTH,), block[f"{name}.weight"], block.get(f"{name}.bias"))

    def linear(name, x):
        return torch.nn.functional.linear(x, block[f"{name}.weight"], block.get(f"{name}.bias"))

    q, k, v = linear("attn.qkv", norm("norm1", tokens)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    heads = torch.softmax(q @ k.mT * (WIDTH // HEADS) ** -0.5, dim=-1) @ v
    tokens = tokens + linear("attn.proj", heads.transpose(1, 2).flatten(2))
    return tokens + linear("mlp.fc2", torch.nn.functional.gelu(linear("mlp.fc1", norm("norm2", tokens))))


TOKENS = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def folded(block):
    for norm, linear in LAYOUT.norms:
        block = fold_norm(block, norm, linear)
    return block


@pytest.mark.parametrize("change", [lambda block: scrambled(block, 3), folded], ids=["orders and axes", "norms"])
def test_the_block_computes_the_same_with_other_weights(change):
    before = random_block()
    after = change(before)
    assert not nearly_equal(before, after)
    torch.testing.assert_close(output(after, TOKENS), output(before, TOKENS), rtol=0, atol=1e-10)


def test_a_folded_norm_scales_by_one_and_adds_nothing():
    block = folded(random_block())
    assert all(
        bool((block[f"{norm}.weight"] == 1).all()) and not block[f"{norm}.bias"].any() for norm in ("norm1", "norm2")
    )


def test_a_norm_with_a_bias_is_left_where_the_linear_layer_has_none():
    block = {name: tensor for name, tensor in random_block().items() if name != "attn.qkv.bias"}
    assert fold_norm(block, "norm1", "attn.qkv") is block
    without = {name: tensor for name, tensor in block.items() if name != "norm1.bias"}
    torch.testing.assert_close(output(folded(without), TOKENS), output(without, TOKENS), rtol=0, atol=1e-10)


def test_an_equivalent_block_is_brought_back():
    block = random_block()
    for seed in range(3):
        other = scrambled(block, seed)
        assert nearly_equal(match_heads(match_units(other, block, MLP), block, ATTENTION, HEADS), block)


def test_where_queries_and_keys_may_not_be_rotated_only_their_heads_are_exchanged():
    block = random_block()
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(HEADS, generator=generator)
    other = rotate_heads(permute_heads(block, ATTENTION, HEADS, order), ATTENTION, None, rotations(generator))
    assert nearly_equal(match_heads(other, block, ATTENTION, HEADS, rotate_qk=False), block)
    turned = rotate_heads(block, ATTENTION, rotations(generator), rotations(generator))
    kept = match_heads(turned, block, ATTENTION, HEADS, rotate_qk=False)
    queries_and_keys = slice(0, 2 * WIDTH)
    ours, theirs = (one["attn.qkv.weight"][queries_and_keys].unflatten(0, (2, HEADS, -1)) for one in (kept, turned))
    assert all(any(torch.equal(head, other) for other in theirs.unbind(1)) for head in ours.unbind(1))  # as they were


NO_NORMS = {
    f"{norm}.{part}": torch.full((WIDTH,), value, dtype=torch.float64)
    for norm in ("norm1", "norm2")
    for part, value in (("weight", 1.0), ("bias", 0.0))
}


@pytest.mark.parametrize("basis", ["constant", "linear", "hat:3"])
def test_scrambled_blocks_on_a_basis_are_on_it_again(basis):
    """Blocks that lie on the basis, hidden by a random order and random axes in each: aligned, nothing is left to explain."""
    chosen = get_basis(basis)
    matrix = chosen.matrix(8)
    thetas = [random_block(seed) for seed in range(chosen.rank)]
    small = [0.3 if direction else 1.0 for direction in chosen.directions]
    rows = (matrix * torch.tensor(small, dtype=torch.float64)).tolist()
    line = [
        {
            name: sum(factor * theta[name] for factor, theta in zip(row, thetas, strict=True))
            for name in SHAPES
            if not name.startswith("norm")
        }
        | NO_NORMS
        for row in rows
    ]

    def left(blocks):
        outside = torch.eye(8, dtype=torch.float64) - matrix @ torch.linalg.pinv(matrix)
        return sum(
            float(torch.tensordot(outside, torch.stack([b[n] for b in blocks]), 1).square().sum()) for n in blocks[0]
        )

    hidden = [scrambled(block, seed) for seed, block in enumerate(line)]
    assert left(hidden) > 100
    aligned = align_blocks(hidden, LAYOUT, HEADS, matrix)
    assert left(aligned) < 0.02 * left(hidden)
    for before, after in zip(hidden, aligned, strict=True):
        torch.testing.assert_close(output(after, TOKENS), output(before, TOKENS), rtol=0, atol=1e-9)
