"""A descendant: a plain timm model that starts from the expanded learngene, or, for comparison, from scratch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.depths import Depth, complete_depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.build import build_model, timm_call, without_weights
from tleg_cli.models.class_names import OtherClasses, in_modules, match_classes, read_class_map, reorder_head
from tleg_cli.models.model_file import ModelCard, check_shapes, load_strictly


@dataclass(frozen=True)
class HeadForData:
    """A learngene whose head has the data's classes in the data's order, or whose head is not used.

    fresh: descendants get a freshly initialised head. notes: what the user should know about it, one line each.
    """

    learngene: Learngene
    fresh: bool = False
    notes: tuple[str, ...] = ()


def head_for_data(
    learngene: Learngene,
    classes: Sequence[str],
    where: str,
    class_map: Path | None = None,
    *,
    fresh: bool = False,
) -> HeadForData:
    """The learngene with its head made ready for the data's classes.

    class_map: how the learngene's classes are called in the data; see class_names.py. fresh: leave its head out in any case,
    as for another number of classes. Raises OtherClasses for as many classes with other names. where: its file.
    """
    metadata = learngene.metadata
    if fresh:
        return HeadForData(learngene, True, ("every descendant gets a fresh head",))
    if metadata.classes != len(classes):
        note = f"{len(classes)} classes, but the learngene has {metadata.classes}: every descendant gets a fresh head"
        return HeadForData(learngene, True, (note,))
    names = metadata.class_names if class_map is None else read_class_map(class_map, metadata.classes)
    try:
        match = match_classes(names, metadata.classes, classes, where)
    except OtherClasses as error:
        raise OtherClasses(f"{error}; if they are other classes, start a new head with --fresh-head") from None
    shared = learngene.shared
    if match.order is not None:
        shared = reorder_head(shared, plugin_manager.get_backbone(metadata.backbone).head, match.order)
    known = replace(metadata, class_names=tuple(classes) if names is not None else None)
    return HeadForData(replace(learngene, shared=shared, metadata=known), notes=(match.note,) if match.note else ())


def expanded_model(
    learngene: Learngene, depth: Depth, classes: int | None = None, *, fresh_head: bool = False, **training: float
) -> nn.Module:
    """The network of this depth with the expanded weights.

    classes: of its head, the learngene's by default; with another number, or if fresh_head, the head stays freshly initialised.
    `training`: drop_rate, drop_path_rate. Raises FileFormatError if the learngene doesn't fit its backbone.
    """
    backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    classes = learngene.metadata.classes if classes is None else classes
    full, where = full_depth(learngene, depth), f"learngene of {backbone.name}"
    weights: dict[str, Tensor] = expand(learngene, full)
    own = partial(build_model, backbone, learngene.metadata.options, full, learngene.metadata.classes)
    check_shapes(without_weights(own), weights, where)  # before a file's sizes can exhaust the memory
    model = build_model(backbone, learngene.metadata.options, full, classes, **training)
    if fresh_head or classes != learngene.metadata.classes:
        fresh = {name: value for name, value in model.state_dict().items() if in_modules(name, backbone.head)}
        weights = {name: value for name, value in weights.items() if not in_modules(name, backbone.head)} | fresh
    load_strictly(model, weights, where)
    return model


def full_depth(learngene: Learngene, depth: Depth) -> Depth:
    """A number for every stage; see complete_depth."""
    backbone = plugin_manager.get_backbone(learngene.metadata.backbone)
    return complete_depth(depth, learngene.metadata.depth, backbone.name, family=backbone.usual_depth)


def descendant_card(
    learngene: Learngene,
    depth: Depth,
    classes: int,
    class_names: Sequence[str] | None,
    crop_pct: float,
    **provenance: object,
) -> ModelCard:
    """What a file of this descendant says about itself. class_names: of its head's outputs, None where they are not known."""
    metadata, rule = learngene.metadata, learngene.expansion
    backbone = plugin_manager.get_backbone(metadata.backbone)
    return ModelCard(
        kind="descendant",
        timm=timm_call(backbone, metadata.options, full_depth(learngene, depth), classes),
        classes=classes,
        input=replace(metadata.input, crop_pct=crop_pct),
        provenance={
            "backbone": backbone.name,
            "learngene": dict(metadata.provenance),
            "expansion": {"basis": learngene.basis.name, "positions": rule.positions, "step": rule.step},
            **provenance,
        },
        class_names=None if class_names is None else tuple(class_names),
    )


def at_image_size(learngene: Learngene, image_size: int) -> Learngene:
    """The learngene for square images of this many pixels; timm resamples what depends on it, the position embedding.

    Raises ConfigError where timm can't: the family resamples nothing, or the new size doesn't fit its patches.
    """
    metadata = learngene.metadata
    if metadata.input.image_size == image_size:
        return learngene
    backbone = plugin_manager.get_backbone(metadata.backbone)
    options = {**metadata.options, **({"img_size": image_size} if "img_size" in backbone.options else {})}
    model = build_model(backbone, options, metadata.depth, metadata.classes)
    try:
        weights = _resampled(model, expand(learngene, metadata.depth))
        load_strictly(model, weights, f"learngene of {backbone.name}")
    except (FileFormatError, RuntimeError) as error:  # torch can't resample to nothing
        raise ConfigError(
            f"the learngene of {metadata.input.image_size} pixels can't be used at {image_size}: {error}"
        ) from None
    shared = {name: weights[name] for name in learngene.shared}
    size = replace(metadata.input, image_size=image_size)
    return replace(learngene, shared=shared, metadata=replace(metadata, options=options, input=size))


def _resampled(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What timm makes of weights of another image size when it loads them: each family has its own filter."""
    make_fit = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return dict(make_fit(weights, model)) if make_fit else weights


def descendant_folder(depth: Depth) -> str:
    """`depth-06`, `depth-2-2-18-2`: sorts as the depths do, and is a name on every file system."""
    return "depth-" + "-".join(f"{number:02d}" if len(depth) == 1 else str(number) for number in depth)
