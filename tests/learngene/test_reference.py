"""Checkpoints of the reference code: a golden copy of its descendants in plain torch, and every way to be wrong."""

import argparse
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.reference import is_reference, read_reference, write_reference

MODULES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")


def reference_weights(width: int, patch: int = 16, side: int = 2, classes: int = 7, hidden: int = 0) -> OrderedDict:
    """What the reference code saves of an aux net, with its keys; every number drawn."""
    random = torch.Generator().manual_seed(width)
    hidden = hidden or 4 * width
    shapes = {
        "pos_embed": (1, side * side, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (classes, width),
        "head.bias": (classes,),
    }
    matrices = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (hidden, width)}
    matrices["mlp.fc2"] = (width, hidden)
    for module in MODULES:
        shape = matrices.get(module, (width,))
        for part in ("base", "ilayer"):
            shapes[f"blocks.block.{module}.instances.0.weight_{part}"] = shape
            shapes[f"blocks.block.{module}.instances.0.bias_{part}"] = shape[:1]
    return OrderedDict((key, 0.1 * torch.randn(shape, generator=random)) for key, shape in shapes.items())


def save(path: Path, weights: OrderedDict, **more: object) -> Path:
    args = argparse.Namespace(
        model="aux_deit_tiny_patch16_224", lr=5e-4, data_path=Path("/data"), mixup=None, betas=[0.9]
    )
    torch.save(
        {
            "model": weights,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            "epoch": 149,
            "args": args,
            **more,
        },
        path,
    )
    return path


def golden_weights(weights: OrderedDict, depth: int) -> dict[str, torch.Tensor]:
    """theta_l = theta_B + (l / L) * theta_A of every module, and the final norm as fc_norm: the reference's transfer."""
    descendant = {}
    for block in range(depth):
        for module in MODULES:
            for kind in ("weight", "bias"):
                start = weights[f"blocks.block.{module}.instances.0.{kind}_base"]
                slope = weights[f"blocks.block.{module}.instances.0.{kind}_ilayer"]
                descendant[f"blocks.{block}.{module}.{kind}"] = start + (block / depth) * slope
    for key in ("pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "head.weight", "head.bias"):
        descendant[key] = weights[key]
    descendant["fc_norm.weight"], descendant["fc_norm.bias"] = weights["norm.weight"], weights["norm.bias"]
    return descendant


def golden_logits(w: dict[str, torch.Tensor], images: torch.Tensor, depth: int, heads: int) -> torch.Tensor:
    """A descendant of the reference, written out: pre-norm blocks, eps 1e-6, pooled and then normalised."""
    patch = w["patch_embed.proj.weight"].shape[-1]
    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    batch, tokens, width = x.shape

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    for block in (f"blocks.{number}" for number in range(depth)):
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) / (width // heads) ** 0.5).softmax(-1)
        x = x + linear((attention @ v).transpose(1, 2).reshape(batch, tokens, width), f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    return linear(norm(x.mean(1), "fc_norm"), "head")


@pytest.mark.parametrize("depth", [1, 3, 6, 12])
@pytest.mark.parametrize(("width", "heads"), [(192, 3), (384, 6), (768, 12)])
def test_an_imported_checkpoint_is_the_references_own_descendant(tmp_path, width, heads, depth):
    from tleg_cli.models.descendant import expanded_model

    weights = reference_weights(width)
    learngene = read_reference(save(tmp_path / "checkpoint.pth", weights))
    expected, found = golden_weights(weights, depth), expand(learngene, depth)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        # one fused rounding here, two there
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7, msg=name)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = expanded_model(learngene, (depth,)).eval()(images)
        theirs = golden_logits(expected, images, depth, heads)
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def aux_net_logits(weights: OrderedDict, images: torch.Tensor, depth: int, heads: int) -> torch.Tensor:
    """The reference's aux net, written out in float64: eps 1e-5, normalised and then pooled."""
    w = {name: value.double() for name, value in golden_weights(weights, depth).items()}
    patch = w["patch_embed.proj.weight"].shape[-1]
    x = F.conv2d(images.double(), w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    batch, tokens, width = x.shape

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)

    for block in (f"blocks.{number}" for number in range(depth)):
        qkv = F.linear(norm(x, f"{block}.norm1"), w[f"{block}.attn.qkv.weight"], w[f"{block}.attn.qkv.bias"])
        q, k, v = qkv.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + F.linear(mixed, w[f"{block}.attn.proj.weight"], w[f"{block}.attn.proj.bias"])
        hidden = F.gelu(F.linear(norm(x, f"{block}.norm2"), w[f"{block}.mlp.fc1.weight"], w[f"{block}.mlp.fc1.bias"]))
        x = x + F.linear(hidden, w[f"{block}.mlp.fc2.weight"], w[f"{block}.mlp.fc2.bias"])
    return F.linear(norm(x, "fc_norm").mean(1), w["head.weight"], w["head.bias"])


@pytest.mark.parametrize("depth", [1, 2, 5, 12, 24])
@pytest.mark.parametrize("size", [0.002, 0.1], ids=["small activations, where eps counts", "usual"])
def test_as_trained_gives_the_aux_nets_own_logits_at_every_depth(tmp_path, depth, size):
    from tleg_cli.models.descendant import expanded_model

    weights = reference_weights(192)
    for name in ("pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        weights[name] *= size / 0.1
    learngene = read_reference(save(tmp_path / "c.pth", weights), as_trained=True)
    published = read_reference(tmp_path / "c.pth")
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = aux_net_logits(weights, images, depth, 3)
        ours, theirs = (expanded_model(gene, (depth,)).eval()(images).double() for gene in (learngene, published))
    off, published_off = ((logits - expected).abs().max() for logits in (ours, theirs))
    assert off < min(1e-5, 0.2 * published_off)  # the published transfer is another function


def test_as_trained_is_a_choice_of_the_command_and_timm_alone_loads_the_result(tmp_path):
    import timm
    from safetensors.torch import load_file
    from typer.testing import CliRunner

    from tleg_cli.cli import app

    weights = reference_weights(192)
    file = save(tmp_path / "c.pth", weights)
    for words in (
        ["import", str(file), str(tmp_path / "gene.pt"), "--as-trained"],
        ["expand", str(tmp_path / "gene.pt"), "--depth", "12", "--out", str(tmp_path / "net.safetensors")],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    options = {"img_size": 32, "class_token": False, "global_pool": "avg", "fc_norm": False, "num_classes": 7}
    model = timm.create_model("vit_tiny_patch16_224", **options)
    model.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert (model.eval()(images) - aux_net_logits(weights, images, 12, 3)).abs().max() < 1e-5
    with pytest.raises(ConfigError, match="leave --backbone out"):
        read_reference(file, "deit_tiny_patch16_224", as_trained=True)


def test_the_published_rule_is_the_references_transfer_at_every_depth(tmp_path):
    weights = reference_weights(192)
    learngene = read_reference(save(tmp_path / "checkpoint.pth", weights))
    for depth in range(1, 25):
        found = expand(learngene, depth)
        for name, tensor in golden_weights(weights, depth).items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7, msg=f"{depth}: {name}")


@pytest.mark.parametrize(("width", "name"), [(192, "tiny"), (384, "small"), (768, "base")])
def test_the_width_says_which_deit_it_is(tmp_path, width, name):
    metadata = read_reference(save(tmp_path / "c.pth", reference_weights(width, side=14))).metadata
    assert metadata.backbone == f"deit_{name}_patch16_224"
    assert metadata.options == {}  # 224 pixels are usual
    assert (metadata.depth, metadata.classes, metadata.input.image_size, metadata.input.crop_pct) == (
        (12,),
        7,
        224,
        0.875,
    )
    assert metadata.input.mean == (0.485, 0.456, 0.406)
    assert metadata.input.std == (0.229, 0.224, 0.225)
    assert metadata.provenance["imported_from"] == "c.pth"


def test_another_image_size_is_an_option(tmp_path):
    metadata = read_reference(save(tmp_path / "c.pth", reference_weights(192, side=24))).metadata
    assert (metadata.options, metadata.input.image_size) == ({"img_size": 384}, 384)


def test_weights_may_be_the_file_itself_or_of_half_precision(tmp_path):
    weights = reference_weights(192)
    torch.save(weights, tmp_path / "bare.pth")
    torch.save({key: value.half() for key, value in weights.items()}, tmp_path / "half.pth")
    bare, half = read_reference(tmp_path / "bare.pth"), read_reference(tmp_path / "half.pth")
    for name, theta in bare.theta.items():
        assert half.theta[name].dtype == torch.float32
        torch.testing.assert_close(half.theta[name], theta, atol=1e-3, rtol=1e-3)


def test_any_size_comes_in_as_a_vit(tmp_path):
    path = save(tmp_path / "c.pth", reference_weights(128, patch=4, side=2, hidden=256))
    learngene = read_reference(path, "vit", depth=6)
    assert learngene.metadata.depth == (6,)
    assert learngene.metadata.options == {
        "img_size": 8, "patch_size": 4, "embed_dim": 128, "num_heads": 2, "mlp_ratio": 2.0,
    }  # fmt: skip
    assert read_reference(path, "vit", heads=8).metadata.options["num_heads"] == 8
    from tleg_cli.models.descendant import expanded_model

    assert len(expanded_model(learngene, (3,)).blocks) == 3


def test_what_is_written_is_read_back_and_laid_out_as_the_reference_does(tmp_path):
    weights = reference_weights(192)
    learngene = read_reference(save(tmp_path / "c.pth", weights))
    write_learngene(learngene, tmp_path / "gene.pt")
    write_reference(read_learngene(tmp_path / "gene.pt"), tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == {"model"}
    assert set(back["model"]) == set(weights)
    assert all(torch.equal(back["model"][key], value) for key, value in weights.items())
    assert read_reference(tmp_path / "back.pth").metadata.backbone == "deit_tiny_patch16_224"


@pytest.mark.parametrize("key", list(reference_weights(192)))
def test_a_missing_key_is_named(tmp_path, key):
    weights = reference_weights(192)
    del weights[key]
    with pytest.raises(FileFormatError) as caught:
        read_reference(save(tmp_path / "c.pth", weights))
    assert f"{key} is missing" in str(caught.value)


@pytest.mark.parametrize("key", [key for key in reference_weights(192) if key != "head.bias"])
def test_another_width_of_one_tensor_is_named_with_its_shape(tmp_path, key):
    weights = reference_weights(192)
    weights[key] = reference_weights(384)[key]
    with pytest.raises(FileFormatError, match="has shape .*should have"):
        read_reference(save(tmp_path / "c.pth", weights))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks.block.attn.qkv.instances.1.weight_base": torch.ones(1)}, ["instances.1.weight_base is not part"]),
        ({"cls_token": torch.ones(1, 1, 192)}, ["cls_token is not part"]),
        ({"norm.weight": "none"}, ["norm.weight: str"]),
        ({"norm.weight": torch.ones(192, dtype=torch.int64)}, ["norm.weight holds torch.int64"]),
        ({"pos_embed": torch.ones(1, 5, 192)}, ["5 positions", "square"]),
        ({"pos_embed": torch.ones(4, 192)}, ["pos_embed has shape (4, 192)"]),
        (
            {"patch_embed.proj.weight": torch.ones(192, 1, 16, 16)},
            ["patch_embed.proj.weight has shape (192, 1, 16, 16)"],
        ),
        ({"patch_embed.proj.weight": torch.ones(192, 768)}, ["patch_embed.proj.weight has shape (192, 768)"]),
        ({"blocks.block.mlp.fc1.instances.0.bias_base": torch.tensor(1.0)}, ["mlp.fc1", "should have"]),
    ],
)
def test_wrong_checkpoints_are_refused_by_key(tmp_path, change, words):
    with pytest.raises(FileFormatError) as caught:
        read_reference(save(tmp_path / "c.pth", OrderedDict(reference_weights(192), **change)))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("width", "arguments", "words"),
    [
        (192, {"backbone": "deit_small_patch16_224"}, ["deit_small", "width 192", "deit_tiny_patch16_224 or vit"]),
        (192, {"backbone": "swin"}, ["'swin' does not fit"]),
        (192, {"heads": 4}, ["--heads is for --backbone vit"]),
        (100, {}, ["width 100", "--backbone vit"]),
        (100, {"backbone": "vit"}, ["width 100", "--heads"]),
        (128, {"backbone": "vit", "heads": 3}, ["not divisible into 3 heads"]),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(tmp_path, width, arguments, words):
    with pytest.raises(ConfigError) as caught:
        read_reference(save(tmp_path / "c.pth", reference_weights(width)), **arguments)
    for word in words:
        assert word in str(caught.value)


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_beside_the_weights_is_refused_and_not_run(tmp_path):
    path = save(tmp_path / "c.pth", reference_weights(192), scaler=Bomb(tmp_path / "ran"))
    with pytest.raises(FileFormatError, match=r"more than tensors and plain values \(posix.system\)"):
        read_reference(path)
    assert not is_reference(path)
    assert not (tmp_path / "ran").exists()


def test_files_are_told_apart(tmp_path, make_learngene):
    assert is_reference(save(tmp_path / "c.pth", reference_weights(192)))
    write_learngene(make_learngene(), tmp_path / "gene.pt")
    write_learngene(make_learngene(), tmp_path / "gene.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("gene.pt", "gene.safetensors", "text.pth", "list.pth", "nothing.pth"):
        assert not is_reference(tmp_path / name), name
        with pytest.raises(FileFormatError) as caught:
            read_reference(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("basis", "depth"), [("hat:3", (12,)), ("linear", (2, 2, 6, 2)), ("linear", (12,))])
def test_only_plain_vits_of_the_linear_basis_are_exported(tmp_path, make_learngene, basis, depth):
    with pytest.raises(ConfigError, match="the reference format"):
        write_reference(make_learngene(basis, depth), tmp_path / "c.pth")
    assert list(tmp_path.iterdir()) == []
