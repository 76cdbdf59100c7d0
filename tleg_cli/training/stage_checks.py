"""What has to agree before a stage can begin: preset, learngene, backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tleg_cli.config import Config
from tleg_cli.errors import ConfigError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth
from tleg_cli.learngene.gene import Learngene, Metadata


def aux_metadata(config: Config, depth: Depth, classes: int) -> Metadata:
    """What a learngene of this config says of itself."""
    data = config.data
    name, options = config.backbone.name, config.backbone.options
    return Metadata(name, options, depth, classes, data.image_size, data.mean, data.std, data.crop_pct)


def check_image_size(backbone: Backbone, metadata: Metadata) -> None:
    """Raises ConfigError where the network is built for images of another size than the data's."""
    built = metadata.options.get("img_size", backbone.options.get("img_size", metadata.image_size))
    if built != metadata.image_size:
        raise ConfigError(
            f"data.image_size is {metadata.image_size}, but backbone.options.img_size is {built}; set both to the same"
        )


def check_fits(config: Config, learngene: Learngene) -> None:
    """Raises ConfigError where preset and learngene speak of different networks; the image size may differ."""
    metadata = learngene.metadata
    for what, ours, its in (
        ("backbone", config.backbone.name, metadata.backbone),
        ("backbone.options", _sizeless(config.backbone.options), _sizeless(metadata.options)),
        ("data.mean", list(config.data.mean), list(metadata.mean)),
        ("data.std", list(config.data.std), list(metadata.std)),
    ):
        if ours != its:
            raise ConfigError(
                f"the preset's {what} is {ours}, but the learngene was trained with {its}; use the preset it was trained with"
            )


def _sizeless(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without the image size: data.image_size decides it."""
    return {name: value for name, value in options.items() if name != "img_size"}
