"""Which registered backbone a checkpoint belongs to: by what tleg wrote into it, by name, or by its shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.fit import block_counts
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import build_model
from tleg_cli.models.model_file import ModelCard

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Recognised:
    """A backbone at the size and depth of a checkpoint. differs: the first tensor it has otherwise, empty where it fits."""

    backbone: Backbone
    options: Mapping[str, Any]
    depth: Depth
    classes: int
    input: InputSpec
    differs: str = ""
    odd: int = 0  # how many tensors differ


def recognise(
    shapes: Shapes, card: ModelCard | None, name: str | None = None, options: Mapping[str, Any] | None = None
) -> Recognised:
    """The backbone of a state dict with these shapes, and its options.

    card: what tleg wrote into the file, if it did. name: a registered backbone. options: what shapes don't say, as the
    number of heads; 64 numbers a head are taken otherwise. Raises ConfigError for a name that doesn't fit, FileFormatError
    if none does.
    """
    if card is not None and name is None and "backbone" in card.provenance:
        return _of_card(shapes, card, options or {})
    if name:
        return _asked(plugin_manager.get_backbone(name), shapes, options or {})
    tried = []
    for backbone in sorted(plugin_manager.backbones().values(), key=lambda one: _preference(one, shapes)):
        found = _tried(backbone, shapes, options or {})
        if found is not None and not found.differs:
            return found
        tried += [found] if found is not None else []
    raise FileFormatError(_none_fits(shapes, tried))


def _preference(backbone: Backbone, shapes: Shapes) -> tuple[bool, int]:
    """First a backbone of this very depth, then one of fixed size: several may have the same shapes."""
    return block_counts(shapes, backbone.stages) != backbone.usual_depth, len(backbone.options)


def _of_card(shapes: Shapes, card: ModelCard, options: Mapping[str, Any]) -> Recognised:
    backbone = plugin_manager.get_backbone(str(card.provenance["backbone"]))
    own = {key: value for key, value in card.timm.arguments.items() if key in backbone.options}
    found = _built(backbone, {**own, **options}, block_counts(shapes, backbone.stages), shapes)
    if found.differs:
        raise FileFormatError(f"its metadata says {backbone.name}, but {found.differs}")
    return Recognised(backbone, found.options, found.depth, card.classes, card.input)


def _asked(backbone: Backbone, shapes: Shapes, options: Mapping[str, Any]) -> Recognised:
    depth = block_counts(shapes, backbone.stages)
    if not all(depth):
        missing = backbone.stages[depth.index(0)]
        raise ConfigError(f"the checkpoint is not a {backbone.name}: it has no blocks at {missing}")
    found = _built(backbone, {**_sizes(backbone, shapes), **options}, depth, shapes)
    if found.differs:
        raise ConfigError(f"the checkpoint is not a {backbone.name}: {found.differs}")
    return found


def _tried(backbone: Backbone, shapes: Shapes, options: Mapping[str, Any]) -> Recognised | None:
    """The backbone at the sizes that the shapes say; None if its blocks are not there or timm can't build it so."""
    depth = block_counts(shapes, backbone.stages)
    if not all(depth) or set(options) - set(backbone.options):
        return None
    try:
        return _built(backbone, {**_sizes(backbone, shapes), **options}, depth, shapes)
    except ConfigError:
        return None


def _built(backbone: Backbone, options: Mapping[str, Any], depth: Depth, shapes: Shapes) -> Recognised:
    """Compared with the real network, without memory for its weights."""
    changed = {key: value for key, value in options.items() if value != backbone.options.get(key)}
    head = next((shapes[f"{head}.weight"] for head in backbone.head if shapes.get(f"{head}.weight")), (0,))
    with torch.device("meta"):
        model = build_model(backbone, changed, depth, head[0])
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    config = getattr(model, "pretrained_cfg", None) or {}
    pixels = options.get("img_size", backbone.options.get("img_size", config.get("input_size", (3, 224, 224))[-1]))
    mean, std = (tuple(config.get(key, default)) for key, default in (("mean", (0.5,) * 3), ("std", (0.5,) * 3)))
    crop = float(config.get("crop_pct") or 1.0)
    odd = [key for key in sorted(set(expected) | set(shapes)) if expected.get(key) != shapes.get(key)]
    differs = ""
    if odd:
        here, there = (one.get(odd[0], "none") for one in (shapes, expected))
        differs = f"{odd[0]} has shape {here} here and {there} in {backbone.name}"
    return Recognised(backbone, changed, depth, head[0], InputSpec(int(pixels), mean, std, crop), differs, len(odd))


def _sizes(backbone: Backbone, shapes: Shapes) -> dict[str, Any]:
    """The options of plain ViTs that follow from shapes: the patches give the image's size, the matrices width and hidden layer."""
    patch, places = shapes.get("patch_embed.proj.weight", ()), shapes.get("pos_embed", ())
    if len(patch) != 4 or len(places) != 3:
        return {}
    found = _variant(shapes, places[1], f"{backbone.stages[0]}.0")
    tokens = 0 if found["no_embed_class"] else _tokens(shapes)
    side = math.isqrt(max(places[1] - tokens, 0))
    found |= {"img_size": side * patch[-1], "patch_size": patch[-1], "embed_dim": patch[0]}
    hidden = shapes.get(f"{backbone.stages[0]}.0.mlp.fc1.bias", ())
    if hidden:
        found |= {"mlp_ratio": hidden[0] / patch[0]}
    if patch[0] % 64 == 0:
        found |= {"num_heads": patch[0] // 64}
    return {key: value for key, value in found.items() if key in backbone.options}


def _variant(shapes: Shapes, places: int, block: str) -> dict[str, Any]:
    """Which of timm's VisionTransformers it is. places: of the position embedding, with or without those of the tokens."""
    class_token = "cls_token" in shapes
    without = math.isqrt(places) ** 2 == places and math.isqrt(
        max(places - _tokens(shapes), 0)
    ) ** 2 != places - _tokens(shapes)
    return {
        "class_token": class_token,
        "reg_tokens": shapes["reg_token"][1] if len(shapes.get("reg_token", ())) == 3 else 0,
        "no_embed_class": without and bool(_tokens(shapes)),
        "global_pool": "token" if class_token and "fc_norm.weight" not in shapes else "avg",
        "fc_norm": "fc_norm.weight" in shapes,
        "pre_norm": "norm_pre.weight" in shapes,
        "qkv_bias": f"{block}.attn.qkv.bias" in shapes,
        "qk_norm": f"{block}.attn.q_norm.weight" in shapes,
        "init_values": 1e-5 if f"{block}.ls1.gamma" in shapes else None,
    }


def _tokens(shapes: Shapes) -> int:
    """Class, distillation and register tokens."""
    registers = shapes.get("reg_token", ())
    return ("cls_token" in shapes) + ("dist_token" in shapes) + (registers[1] if len(registers) == 3 else 0)


_REGISTER = "; docs/plugins.md says how to register a backbone"


def _none_fits(shapes: Shapes, tried: Sequence[Recognised]) -> str:
    if any(key.startswith("blocks.block.") for key in shapes):
        return "a checkpoint of the reference code is a learngene already: use tleg import"
    stages = list(dict.fromkeys(stage for one in plugin_manager.backbones().values() for stage in one.stages))
    if unlike := _unlike_a_learngene(shapes, stages):
        return unlike
    if tried:
        nearest = min(tried, key=lambda found: found.odd)
        return (
            f"no registered backbone has these shapes; nearest is {nearest.backbone.name}: {nearest.differs}{_REGISTER}"
        )
    first = ", ".join(f"{key} {list(shape)}" for key, shape in list(shapes.items())[:3])
    places = ", ".join(dict.fromkeys(backbone.stages[0] for backbone in plugin_manager.backbones().values()))
    return f"no blocks at {places}, where registered backbones have theirs; found {first}, ..{_REGISTER}"


def _unlike_a_learngene(shapes: Shapes, stages: Sequence[str]) -> str | None:
    """Why no backbone could have these blocks, None if one could: BatchNorm, or blocks of different shapes."""
    for stage in stages:
        for name, shape in shapes.items():
            block, _, inside = name.removeprefix(f"{stage}.").partition(".")
            if not name.startswith(f"{stage}.") or not block.isdigit():
                continue
            if inside.endswith("running_mean"):
                return f"its blocks hold BatchNorm ({name}); its statistics are not weights and can't be expanded"
            first = shapes.get(f"{stage}.0.{inside}", shape)
            if shape != first:
                return f"{name} has shape {shape}, but in block 0 it is {first}: unequal blocks can't be expanded"
    return None
