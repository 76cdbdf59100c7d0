"""A descendant: a plain timm model that starts from the expanded learngene, or, for comparison, from scratch."""

from __future__ import annotations

import sys
from dataclasses import replace

from torch import Tensor, nn

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth, complete_depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.build import build_model, timm_call
from tleg_cli.models.model_file import ModelCard, load_strictly


def expanded_model(learngene: Learngene, depth: Depth, classes: int | None = None, **training: float) -> nn.Module:
    """The network of this depth with the expanded weights; with other classes its head stays freshly initialised.

    `training`: drop_rate, drop_path_rate. Raises FileFormatError if the learngene doesn't fit its backbone.
    """
    backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    classes = learngene.metadata.classes if classes is None else classes
    full = full_depth(learngene, depth)
    model = build_model(backbone, learngene.metadata.options, full, classes, **training)
    weights: dict[str, Tensor] = expand(learngene, full)
    if classes != learngene.metadata.classes:
        fresh = {name: value for name, value in model.state_dict().items() if in_head(backbone, name)}
        weights = {name: value for name, value in weights.items() if not in_head(backbone, name)} | fresh
    load_strictly(model, weights, f"learngene of {backbone.name}")
    return model


def in_head(backbone: Backbone, name: str) -> bool:
    """Whether a weight belongs to the classifier."""
    return any(name == head or name.startswith(f"{head}.") for head in backbone.head)


def full_depth(learngene: Learngene, depth: Depth) -> Depth:
    """A number for every stage; see complete_depth."""
    backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    return complete_depth(depth, learngene.metadata.depth, backbone.name, family=backbone.usual_depth)


def descendant_card(
    learngene: Learngene, depth: Depth, classes: int, crop_pct: float, **provenance: object
) -> ModelCard:
    """What a file of this descendant says about itself."""
    metadata = learngene.metadata
    backbone = plugin_manager.get_backbone(metadata.backbone)
    return ModelCard(
        kind="descendant",
        timm=timm_call(backbone, metadata.options, full_depth(learngene, depth), classes),
        classes=classes,
        image_size=metadata.image_size,
        mean=metadata.mean,
        std=metadata.std,
        crop_pct=crop_pct,
        provenance={"backbone": backbone.name, "learngene": dict(metadata.provenance), **provenance},
    )


def at_image_size(learngene: Learngene, image_size: int) -> Learngene:
    """The learngene for square images of this many pixels; timm resamples what depends on it, the position embedding.

    Raises ConfigError where timm can't: the family resamples nothing, or the new size doesn't fit its patches.
    """
    metadata = learngene.metadata
    if metadata.image_size == image_size:
        return learngene
    backbone = plugin_manager.get_backbone(metadata.backbone)
    options = {**metadata.options, **({"img_size": image_size} if "img_size" in backbone.options else {})}
    model = build_model(backbone, options, metadata.depth, metadata.classes)
    try:
        weights = _resampled(model, expand(learngene, metadata.depth))
        load_strictly(model, weights, f"learngene of {backbone.name}")
    except (FileFormatError, RuntimeError) as error:  # torch can't resample to nothing
        raise ConfigError(
            f"the learngene of {metadata.image_size} pixels can't be used at {image_size}: {error}"
        ) from None
    shared = {name: weights[name] for name in learngene.shared}
    return replace(learngene, shared=shared, metadata=replace(metadata, options=options, image_size=image_size))


def _resampled(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What timm makes of weights of another image size when it loads them: each family has its own filter."""
    make_fit = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return dict(make_fit(weights, model)) if make_fit else weights


def descendant_folder(depth: Depth) -> str:
    """`depth-06`, `depth-2-2-18-2`: sorts as the depths do, and is a name on every file system."""
    return "depth-" + "-".join(f"{number:02d}" if len(depth) == 1 else str(number) for number in depth)
