"""Checkpoints of the published reference code of TLEG (AAAI 2024, arXiv 2312.05614), read and written.

Its aux net keeps one block: `blocks.block.M.instances.0.{weight,bias}_{base,ilayer}`, theta_B and theta_A of module M.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.files import atomic_file, file_hash
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.gene import Learngene, Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.weights.open import first_not_finite, read_weights
from tleg_cli.weights.read_header import read_header

USUAL_DEPTH = 12  # of all its aux nets, and written nowhere in its files
FAMILIES = {192: "deit_tiny_patch16_224", 384: "deit_small_patch16_224", 768: "deit_base_patch16_224"}
FREE = "vit"  # the backbone for every other size
AS_TRAINED = "vit_timm"  # the backbone that can normalise and then pool

_MODULES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")
_IN_BLOCK = [f"{module}.{part}" for module in _MODULES for part in ("weight", "bias")]
# It normalises and then pools, its descendants and timm pool and then normalise: its `norm` becomes `fc_norm`.
_SHARED = {
    "pos_embed": "pos_embed",
    "patch_embed.proj.weight": "patch_embed.proj.weight",
    "patch_embed.proj.bias": "patch_embed.proj.bias",
    "norm.weight": "fc_norm.weight",
    "norm.bias": "fc_norm.bias",
    "head.weight": "head.weight",
    "head.bias": "head.bias",
}
_BRANCH_ENDS = ("attn.proj", "mlp.fc2")
# LayerNorm of s * x with eps is LayerNorm of x with eps / s^2: a residual stream times this has the reference's 1e-5 in timm's 1e-6
_STREAM = math.sqrt(1e-6 / 1e-5)
_MEAN, _STD, _CROP = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875  # ImageNet's, which it always uses


def is_reference(path: Path) -> bool:
    """Whether the file is such a checkpoint, complete or not. False for what can't be read."""
    try:
        return _has_its_keys(read_header(path).tensors)
    except FileFormatError:
        return False


def read_reference(
    path: Path,
    backbone: str | None = None,
    depth: int | None = None,
    heads: int | None = None,
    *,
    as_trained: bool = False,
) -> Learngene:
    """The learngene of a reference checkpoint: weights under "model", or the dict itself.

    as_trained: with the very function of its aux net, which normalises before it pools, with eps 1e-5. Otherwise, as the reference
    makes its descendants, the final norm comes after pooling and all eps are 1e-6, which is another function.

    backbone: a name of FAMILIES, or `vit`; without it, the width says which. depth: of its aux net, 12 unless given.
    heads: only for `vit`; 64 channels a head unless given. Raises FileFormatError for a key that is missing, unknown or of
    another shape and for any file that could run code; ConfigError for a backbone that the file isn't of.
    """
    if not path.is_file():
        raise FileFormatError(f"no checkpoint at {path}{': that is a folder' if path.is_dir() else ''}")
    weights = read_weights(path).tensors
    if not _has_its_keys(weights):
        raise FileFormatError(f"{path} is not a checkpoint of the reference code: it has no keys blocks.block.*")
    _check_keys(weights, path)
    _check_shapes(weights, path)
    name, options = (AS_TRAINED, {}) if as_trained else _backbone(weights, backbone, heads)
    theta = {
        f"blocks.*.{inside}": torch.stack([weights[_key(inside, part)].float() for part in ("base", "ilayer")])
        for inside in _IN_BLOCK
    }
    shared = {ours: weights[theirs].float() for theirs, ours in _SHARED.items()}
    if as_trained:
        if backbone not in (None, AS_TRAINED):
            raise ConfigError(
                f"--as-trained needs backbone {AS_TRAINED}, the one that normalises before it pools; leave --backbone out"
            )
        options = _sizes(weights, heads) | {"class_token": False, "global_pool": "avg", "fc_norm": False}
        theta, shared = _with_its_norms(theta, shared)
    return Learngene(
        theta=theta,
        shared=shared,
        stages=("blocks",),
        basis=get_basis("linear"),
        metadata=Metadata(
            backbone=name,
            options=options,
            depth=(USUAL_DEPTH if depth is None else depth,),
            classes=weights["head.weight"].shape[0],
            input=InputSpec(_image_size(weights), _MEAN, _STD, _CROP),
            provenance={"imported_from": path.name, "sha256": file_hash(path)},
        ),
    )


def _with_its_norms(
    theta: Mapping[str, Tensor], shared: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The final norm before pooling, and a residual stream times _STREAM: what writes to it is scaled, weight and bias."""
    ends = tuple(f"blocks.*.{module}." for module in _BRANCH_ENDS)
    starts = ("patch_embed.", "pos_embed")
    return (
        {name: value * _STREAM if name.startswith(ends) else value for name, value in theta.items()},
        {
            name.replace("fc_norm.", "norm."): value * _STREAM if name.startswith(starts) else value
            for name, value in shared.items()
        },
    )


def write_reference(learngene: Learngene, path: Path) -> None:
    """Writes `path` as the reference code reads it, atomically. The format has no place for depth, heads and normalisation.

    Raises ConfigError unless the learngene is a plain ViT with the linear basis.
    """
    if learngene.basis.name not in ("linear", "polynomial:1") or learngene.stages != ("blocks",):
        raise ConfigError(
            f"the reference format holds the linear basis of one stage only, not {learngene.basis.name} "
            f"of {', '.join(learngene.stages)}"
        )
    found = set(learngene.theta) | set(learngene.shared)
    wanted = {f"blocks.*.{inside}" for inside in _IN_BLOCK} | set(_SHARED.values())
    if odd := sorted(found ^ wanted):
        what = "has no place for" if odd[0] in found else "needs"
        raise ConfigError(f"the reference format {what} {odd[0]}; it holds plain ViTs without a class token")
    weights = {theirs: learngene.shared[ours] for theirs, ours in _SHARED.items()}
    for inside in _IN_BLOCK:
        weights[_key(inside, "base")], weights[_key(inside, "ilayer")] = learngene.theta[f"blocks.*.{inside}"]
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}
    with atomic_file(path) as temporary:
        torch.save({"model": plain}, temporary)


def _key(inside: str, part: str) -> str:
    """("attn.qkv.weight", "base") -> "blocks.block.attn.qkv.instances.0.weight_base"."""
    module, _, kind = inside.rpartition(".")
    return f"blocks.block.{module}.instances.0.{kind}_{part}"


def _has_its_keys(weights: Mapping[str, Any]) -> bool:
    return any(key.startswith("blocks.block.") for key in weights)


def _check_keys(weights: Mapping[str, Tensor], path: Path) -> None:
    wanted = {_key(inside, part) for inside in _IN_BLOCK for part in ("base", "ilayer")} | set(_SHARED)
    for key in sorted(wanted - set(weights)):
        raise FileFormatError(f"{path}: {key} is missing; every checkpoint of the reference code has it")
    for key in sorted(set(weights) - wanted):
        raise FileFormatError(f"{path}: {key} is not part of a learngene; the reference code writes no such key")
    for key, value in weights.items():
        if not value.is_floating_point():
            raise FileFormatError(f"{path}: {key} holds {value.dtype}; weights are floating-point numbers")
    broken = first_not_finite(weights)
    if broken is not None:
        raise FileFormatError(f"{path}: {broken} holds NaN or Inf, which every descendant would inherit")


def _check_shapes(weights: Mapping[str, Tensor], path: Path) -> None:
    """Everything follows from the width, the patch, the hidden layer, the number of patches and of classes."""
    for key, dimensions in (("norm.weight", 1), ("patch_embed.proj.weight", 4), ("pos_embed", 3), ("head.weight", 2)):
        if weights[key].ndim != dimensions:
            _wrong(path, key, weights[key], f"{dimensions} dimensions")
    width, classes = weights["norm.weight"].shape[0], weights["head.weight"].shape[0]
    (patch, _), patches = weights["patch_embed.proj.weight"].shape[-2:], weights["pos_embed"].shape[1]
    hidden = (weights[_key("mlp.fc1.bias", "base")].shape or (0,))[0]
    if math.isqrt(patches) ** 2 != patches:
        raise FileFormatError(f"{path}: pos_embed has {patches} positions; without a class token they form a square")
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, patches, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (classes, width),
        "head.bias": (classes,),
    }
    modules = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (hidden, width)}
    modules |= {"mlp.fc2": (width, hidden)}
    for part in ("base", "ilayer"):
        for module in _MODULES:
            shape: tuple[int, ...] = modules.get(module, (width,))
            shapes |= {_key(f"{module}.weight", part): shape, _key(f"{module}.bias", part): shape[:1]}
    for key, shape in shapes.items():
        if tuple(weights[key].shape) != shape:
            _wrong(path, key, weights[key], f"{shape} at width {width}")


def _wrong(path: Path, key: str, found: Tensor, wanted: str) -> NoReturn:
    raise FileFormatError(f"{path}: {key} has shape {tuple(found.shape)}, but should have {wanted}")


def _image_size(weights: Mapping[str, Tensor]) -> int:
    return math.isqrt(weights["pos_embed"].shape[1]) * weights["patch_embed.proj.weight"].shape[-1]


def _backbone(weights: Mapping[str, Tensor], asked: str | None, heads: int | None) -> tuple[str, dict[str, Any]]:
    """The backbone's name and its options, of the width, patch and image size that the weights have."""
    width, patch = weights["norm.weight"].shape[0], weights["patch_embed.proj.weight"].shape[-1]
    hidden = weights[_key("mlp.fc1.bias", "base")].shape[0]
    usual = FAMILIES.get(width) if (patch, hidden) == (16, 4 * width) else None
    size = f"width {width}, patch {patch}, hidden layer {hidden}"
    if asked is None and usual is None:
        raise ConfigError(f"{size}: not one of {', '.join(FAMILIES.values())}; pass --backbone {FREE}")
    if asked not in (None, usual, FREE):
        fits = f"{usual} or {FREE}" if usual else FREE
        raise ConfigError(f"backbone {asked!r} does not fit a reference checkpoint of {size}; {fits} does")
    pixels = _image_size(weights)
    if asked != FREE:
        if heads is not None:
            raise ConfigError(f"the number of heads of {usual} is fixed; --heads is for --backbone {FREE}")
        return str(usual), {} if pixels == 224 else {"img_size": pixels}
    return FREE, _sizes(weights, heads)


def _sizes(weights: Mapping[str, Tensor], heads: int | None) -> dict[str, Any]:
    """The options of a ViT of any size."""
    width, patch = weights["norm.weight"].shape[0], weights["patch_embed.proj.weight"].shape[-1]
    number = width // 64 if heads is None else heads  # 64 channels a head in every published size
    if number < 1 or width % number or (heads is None and width % 64):
        raise ConfigError(f"width {width} is not divisible into {number} heads; pass their number with --heads")
    options = {"img_size": _image_size(weights), "patch_size": patch, "embed_dim": width, "num_heads": number}
    return {**options, "mlp_ratio": weights[_key("mlp.fc1.bias", "base")].shape[0] / width}
