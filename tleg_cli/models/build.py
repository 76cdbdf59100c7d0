"""A timm model of a registered backbone at any depth, and the `timm.create_model` call that makes it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, PluginError, did_you_mean, first_line
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import Depth, complete_depth, format_depth
from tleg_cli.models.timm_arguments import is_plain_name


@dataclass(frozen=True)
class TimmCall:
    """`timm.create_model(name, **arguments)`: enough to rebuild a network without tleg."""

    name: str
    arguments: Mapping[str, Any]

    def source(self) -> str:
        """The call as a line of Python."""
        arguments = "".join(f", {key}={value!r}" for key, value in self.arguments.items())
        return f"timm.create_model({self.name!r}{arguments})"


def is_buildable(name: str) -> bool:
    """Whether timm knows `name`, the networks included that plugins register with it when they are imported."""
    import timm

    if not timm.is_model(name):
        plugin_manager.load()
    return is_plain_name(name) and bool(timm.is_model(name))


def create_network(call: TimmCall, *, pretrained: bool = False) -> nn.Module:
    """The freshly initialised network of a call, from torch's generator: the only place where timm makes one.

    pretrained: with timm's published weights, fetched if need be; what goes wrong on the way is raised as it is. Raises
    ConfigError in one line for a network that timm doesn't have or can't build.
    """
    import timm

    if not is_buildable(call.name):
        raise ConfigError(f"timm has no model {call.name!r}{_nearest_models(call.name)}")
    fetched = {"pretrained": True} if pretrained else {}
    try:
        return timm.create_model(call.name, **{**call.arguments, **fetched})
    except Exception as error:  # arguments are checked by whoever wrote the network, each in its own way
        if pretrained and isinstance(error, OSError | RuntimeError | ValueError):
            raise
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"timm can't build {call.source()}: {reason}") from error


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """On torch's meta device, which has shapes but no numbers. A network that reads numbers while it is built gets them first.

    torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except (NotImplementedError, RuntimeError):
            pass
        except ConfigError as error:
            if not isinstance(error.__cause__, NotImplementedError | RuntimeError):
                raise
        return build().to("meta")


def _nearest_models(name: str) -> str:
    import timm

    known = timm.list_models()
    near = difflib.get_close_matches(name.partition(".")[0], known, n=3, cutoff=0.7)
    near = near or timm.list_models(f"*{name.split('_')[0]}*")[:3] if is_plain_name(name) else near
    return f"; did you mean {' or '.join(near)}?" if near else ""


def timm_call(backbone: Backbone, options: Mapping[str, Any], depth: Depth, classes: int) -> TimmCall:
    """The call for a network of this depth. Raises ConfigError for an option or a depth that the backbone can't have."""
    unknown = sorted(set(options) - set(backbone.options))
    if unknown:
        raise ConfigError(
            f"backbone {backbone.name} has no option {unknown[0]!r}.{did_you_mean(unknown[0], backbone.options)}"
        )
    for (
        name,
        value,
    ) in options.items():  # timm builds some networks with a negative size, which then fail on the first image
        example = backbone.options[name]
        if _is_size(example) and not _is_size(value):
            raise ConfigError(
                f"backbone {backbone.name}: {name} = {repr(value)[:80]} must be above 0, as in {example!r}"
            )
    full = complete_depth(depth, backbone.usual_depth, backbone.name)
    arguments = {
        **backbone.arguments,
        **backbone.options,
        **options,
        backbone.depth_argument: full[0] if len(full) == 1 else full,
        "num_classes": classes,
    }
    return TimmCall(backbone.timm_name, arguments)


def _is_size(value: Any) -> bool:
    """Whether a value is a number above 0, or a row of such numbers."""
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_size(one) for one in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def build_model(
    backbone: Backbone, options: Mapping[str, Any], depth: Depth, classes: int, **training: Any
) -> nn.Module:
    """The freshly initialised network. `training`: drop_rate, drop_path_rate; passed where they aren't 0.

    Raises ConfigError if timm refuses the arguments, PluginError if the blocks are not where the backbone says.
    """
    call = timm_call(backbone, options, depth, classes)
    used = {key: value for key, value in training.items() if value}
    model = create_network(replace(call, arguments={**call.arguments, **used}))
    check_stages(model, backbone, complete_depth(depth, backbone.usual_depth, backbone.name))
    if not training.get("drop_path_rate"):
        _refuse_own_drop_path(model, backbone)
    return model


def _refuse_own_drop_path(model: nn.Module, backbone: Backbone) -> None:
    """timm's Swin drops paths by default: a recipe that asks for none would silently get some."""
    rate = max((float(getattr(module, "drop_prob", 0) or 0) for module in model.modules()), default=0.0)
    if rate > 0:
        raise PluginError(
            f"backbone {backbone.name}: {type(model).__name__} drops paths by itself, up to {rate:g}; "
            "write arguments={'drop_path_rate': 0.0} in the plugin, so that the recipe decides"
        )


def check_stages(model: nn.Module, backbone: Backbone, depth: Depth) -> None:
    """Raises PluginError unless every stage is a list of `depth` blocks with equal parameters."""
    for stage, blocks in zip(backbone.stages, depth, strict=True):
        try:
            found = model.get_submodule(stage)
        except AttributeError:
            raise PluginError(f"backbone {backbone.name}: {type(model).__name__} has no {stage!r}") from None
        children = dict(found.named_children())
        if list(children) != [str(number) for number in range(blocks)]:
            raise PluginError(
                f"backbone {backbone.name}: {stage!r} holds {len(children)} blocks "
                f"where depth {format_depth(depth)} asks for {blocks}"
            )
        shapes = [
            {name: tuple(value.shape) for name, value in block.state_dict().items()} for block in children.values()
        ]
        for number, shape in enumerate(shapes):
            odd = sorted(name for name in set(shape) | set(shapes[0]) if shape.get(name) != shapes[0].get(name))
            if odd:
                raise PluginError(
                    f"backbone {backbone.name}: {stage}.{number}.{odd[0]} has shape {shape.get(odd[0])}, "
                    f"but in block 0 it is {shapes[0].get(odd[0])}: unequal blocks can't be expanded"
                )
