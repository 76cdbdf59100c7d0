"""The weights of every built-in method, by formulas written out again."""

import numpy as np
import pytest
import scipy.fft
import torch

from tleg_cli.api import Initialiser, Mixing, PluginError, mix_blocks
from tleg_cli.errors import ConfigError
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expansion import PUBLISHED
from tleg_cli.learngene.full_rank import full_rank
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import name_of, new_aux_net
from tleg_cli.models.build import build_model
from tleg_cli.models.coefficient_net import new_mixture_net, plain_weights
from tleg_cli.plugin_manager import get_backbone, get_initialiser

OPTIONS = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")
SPEC = InputSpec(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0)


@pytest.fixture(scope="module")
def deep():
    """A network of 6 blocks with random weights everywhere, and itself as a learngene."""
    torch.manual_seed(1)
    weights = {
        name: torch.randn_like(value)
        for name, value in build_model(get_backbone("vit"), OPTIONS, (6,), 3).state_dict().items()
    }
    return weights, full_rank(weights, ("blocks",), Metadata("vit", OPTIONS, (6,), 3, SPEC), PUBLISHED)


@pytest.fixture(scope="module")
def line():
    torch.manual_seed(2)
    return new_aux_net(get_backbone("vit"), get_basis("linear"), Metadata("vit", OPTIONS, (6,), 3, SPEC)).learngene()


def blocks_of(weights, name, depth):
    return np.stack([weights[f"blocks.{block}.{name}"].detach().double().numpy() for block in range(depth)])


NAMES = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc2.bias", "norm1.weight")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
def test_weight_selection_takes_the_first_blocks(deep, name, depth):
    weights, source = deep
    grown = get_initialiser("first-blocks").grow(source, (depth,))
    assert np.array_equal(blocks_of(grown, name, depth), blocks_of(weights, name, 6)[:depth])
    assert torch.equal(grown["head.weight"], weights["head.weight"])
    assert len(grown) == 12 * depth + len([one for one in weights if not one.startswith("blocks.")])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_every_nth_keeps_the_first_and_the_last_block(deep, name, depth):
    weights, source = deep
    chosen = np.round(np.linspace(0, 5, depth)).astype(int)
    expected = blocks_of(weights, name, 6)[chosen]
    grown = get_initialiser("every-nth").grow(source, (depth,))
    assert np.array_equal(blocks_of(grown, name, depth), expected)
    scaled = get_initialiser("every-nth-scaled").grow(source, (depth,))
    step = (6 / depth) ** 0.5 if name in ENDS else 1.0
    np.testing.assert_allclose(blocks_of(scaled, name, depth), step * expected, rtol=1e-6)


@pytest.mark.parametrize("depth", [3, 6, 9])
def test_tleg_is_a_line_and_the_step_scales_what_a_block_adds(line, depth):
    theta_b, theta_a = line.theta["blocks.*.mlp.fc2.weight"].detach().double().numpy()
    published = blocks_of(get_initialiser("tleg").grow(line, (depth,)), "mlp.fc2.weight", depth)
    expected = np.stack([theta_b + block / depth * theta_a for block in range(depth)])
    np.testing.assert_allclose(published, expected, rtol=1e-5, atol=1e-7)
    scaled = blocks_of(get_initialiser("tleg-scaled").grow(line, (depth,)), "mlp.fc2.weight", depth)
    at = np.arange(depth) / (depth - 1) * 5 / 6
    step = (6 / depth) ** (1.0 if depth >= 6 else 0.5)
    expected = step * np.stack([theta_b + position * theta_a for position in at])
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-7)


def test_rows_of_another_shape_are_refused(deep):
    with pytest.raises(ConfigError, match=r"rows\(2, 6\) has shape \(3, 6\), not \(2, 6\)"):
        mix_blocks(deep[1], 2, lambda blocks, trained: torch.eye(trained)[:3])


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 9])
def test_cosines_are_scipys_dct_over_depth(deep, depth):
    weights, source = deep
    name = "attn.qkv.weight"
    spectrum = scipy.fft.dct(blocks_of(weights, name, 6), axis=0, norm="ortho")
    resized = np.zeros((depth, *spectrum.shape[1:]))
    resized[: min(depth, 6)] = spectrum[: min(depth, 6)]
    expected = scipy.fft.idct(resized, axis=0, norm="ortho") * (depth / 6) ** 0.5
    grown = get_initialiser("cosines").grow(source, (depth,))
    np.testing.assert_allclose(blocks_of(grown, name, depth), expected, atol=1e-5)


@pytest.mark.parametrize("depth", [2, 6, 12])
def test_least_squares_is_the_regression_on_the_block_number(deep, depth):
    weights, source = deep
    name = "mlp.fc1.weight"
    layers = blocks_of(weights, name, 6)
    slope, level = np.polyfit(np.arange(6) / 6, layers.reshape(6, -1), 1)
    expected = np.stack([level + block / depth * slope for block in range(depth)]).reshape(depth, *layers.shape[1:])
    grown = get_initialiser("least-squares").grow(source, (depth,))
    np.testing.assert_allclose(blocks_of(grown, name, depth), expected, atol=1e-5)


@pytest.mark.parametrize("depth", [2, 6, 8, 13])
def test_stacking_repeats_the_blocks_in_their_order(deep, depth):
    weights, source = deep
    grown = get_initialiser("stacking").grow(source, (depth,))
    for block in range(depth):
        assert torch.equal(grown[f"blocks.{block}.{NAMES[0]}"], weights[f"blocks.{block % 6}.{NAMES[0]}"])


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_heur_lg_puts_the_last_blocks_on_fresh_ones(deep, depth):
    weights, source = deep
    torch.manual_seed(5)
    grown = get_initialiser("last-blocks").grow(source, (depth,))
    torch.manual_seed(5)
    fresh = build_model(get_backbone("vit"), OPTIONS, (depth,), 3).state_dict()
    for block in range(depth):
        found = grown[f"blocks.{block}.{NAMES[0]}"]
        kept = block >= depth - 3
        expected = weights[f"blocks.{6 - (depth - block)}.{NAMES[0]}"] if kept else fresh[f"blocks.{block}.{NAMES[0]}"]
        assert torch.equal(found, expected)
    assert torch.equal(grown["patch_embed.proj.weight"], weights["patch_embed.proj.weight"])


def test_sws_shares_weights_within_a_third():
    torch.manual_seed(3)
    source = new_aux_net(
        get_backbone("vit"), get_basis("piecewise:3"), Metadata("vit", OPTIONS, (6,), 3, SPEC)
    ).learngene()
    grown = blocks_of(get_initialiser("sws").grow(source, (9,)), NAMES[0], 9)
    theta = source.theta[f"blocks.*.{NAMES[0]}"].detach().double().numpy()
    assert np.array_equal(grown, theta[[0, 0, 0, 1, 1, 1, 2, 2, 2]])


@pytest.fixture(scope="module")
def ligo():
    """A plain network of 2 blocks, and one of 5 whose blocks are learned mixtures of them."""
    torch.manual_seed(4)
    weights = {
        name: value.clone() for name, value in build_model(get_backbone("vit"), OPTIONS, (2,), 3).state_dict().items()
    }
    source = full_rank(weights, ("blocks",), Metadata("vit", OPTIONS, (2,), 3, SPEC), PUBLISHED)
    return weights, new_mixture_net(source, (5,), get_initialiser("ligo").mixing.rows)


def test_ligo_starts_as_stacking_and_trains_coefficients_only(ligo):
    weights, network = ligo
    for name in NAMES:
        assert np.array_equal(blocks_of(plain_weights(network), name, 5), blocks_of(weights, name, 2)[[0, 1, 0, 1, 0]])
    trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
    assert len(trained) == 12  # a matrix for each weight of a block
    assert {tuple(value.shape) for value in trained.values()} == {(5, 2)}


def test_the_gradient_of_a_coefficient_is_that_of_its_block_along_the_source(ligo):
    """d loss / d a[l, k] = <d loss / d W_l, W_k>: from a plain network of 5 blocks, by formulas written out again."""
    weights, network = ligo
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():  # away from the start
        for matrix in network.coefficients.values():
            matrix.add_(0.3 * torch.randn_like(matrix))
    plain = build_model(get_backbone("vit"), OPTIONS, (5,), 3)
    plain.load_state_dict(plain_weights(network))
    for model in (network, plain):
        torch.nn.functional.cross_entropy(model.eval()(images), labels).backward()
    own = dict(plain.named_parameters())
    for name in NAMES:
        matrix = next(value for key, value in network.coefficients.items() if name_of(key) == f"blocks.*.{name}")
        stacked = np.einsum("lk,k...->l...", matrix.detach().double().numpy(), blocks_of(weights, name, 2))
        np.testing.assert_allclose(blocks_of(plain_weights(network), name, 5), stacked, atol=1e-6)
        slopes = np.stack([own[f"blocks.{block}.{name}"].grad.double().numpy() for block in range(5)])
        expected = slopes.reshape(5, -1) @ blocks_of(weights, name, 2).reshape(2, -1).T
        np.testing.assert_allclose(matrix.grad.double().numpy(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixing": Mixing(torch.zeros, share=1.0), "share": 0.5}, "must be a Mixing with a function rows and a share"),
        ({"mixing": Mixing(torch.zeros, share=0.5)}, "share 0; it must be above 0 with grow or mixing"),
        ({"mixing": Mixing(torch.zeros, share=0.5), "share": 0.5, "grow": dict}, "has grow and mixing"),
        ({"mixing": Mixing(torch.zeros, share=0.5), "share": 1.0}, "its share be below 1"),
        ({"mixing": Mixing(torch.zeros, share=0.5), "share": 0.5, "basis": "linear"}, "must have separate blocks"),
        ({"grow": dict}, "share 0; it must be above 0"),
        ({"grow": dict, "share": 1, "ranked": True}, "has ranked; only a separate network at the deepest depth"),
        ({"grow": dict, "share": 1, "then": ("a=b",), "trained_at": "all"}, "has then; only a separate network"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(PluginError, match=message):
        Initialiser("mine", "for a test", **values)
