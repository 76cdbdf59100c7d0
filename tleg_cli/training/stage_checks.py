"""What has to agree before a stage can begin: preset, learngene, backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.gene import Learngene, Metadata


def aux_metadata(config: Config, depth: Depth, classes: int, class_names: Sequence[str] | None = None) -> Metadata:
    """What a learngene of this config says of itself."""
    data = config.data
    name, options = config.backbone.name, config.backbone.options
    names = None if class_names is None else tuple(class_names)
    return Metadata(name, options, depth, classes, data.input, class_names=names)


def check_image_size(backbone: Backbone, metadata: Metadata) -> None:
    """Raises ConfigError where the network is built for images of another size than the data's."""
    wanted = metadata.input.image_size
    built = metadata.options.get("img_size", backbone.options.get("img_size", wanted))
    if built != wanted:
        raise ConfigError(
            f"data.image_size is {wanted}, but backbone.options.img_size is {built}; set both to the same"
        )


def check_fits(config: Config, learngene: Learngene) -> None:
    """Raises ConfigError where preset and learngene speak of different networks; the image size may differ."""
    metadata = learngene.metadata
    for what, ours, its in (
        ("backbone", config.backbone.name, metadata.backbone),
        ("backbone.options", _sizeless(config.backbone.options), _sizeless(metadata.options)),
        ("data.mean", list(config.data.mean), list(metadata.input.mean)),
        ("data.std", list(config.data.std), list(metadata.input.std)),
    ):
        if ours != its:
            raise ConfigError(
                f"the preset's {what} is {ours}, but the learngene was trained with {its}; use the preset it was trained with"
            )


def _sizeless(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without the image size: data.image_size decides it."""
    return {name: value for name, value in options.items() if name != "img_size"}
