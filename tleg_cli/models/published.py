"""timm's published weights: whether a model has any, whether they are on this machine, and fetching them."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request

from torch import nn

from tleg_cli.errors import ConfigError, first_line
from tleg_cli.models.build import TimmCall, create_network, is_buildable


def fetched_already(model: str) -> bool:
    """Whether timm's published weights are in the cache of this machine."""
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(f"timm/{_hub_name(model)}", name), str) for name in names)


def check_published(model: str) -> None:
    """Raises ConfigError for a network that timm doesn't have, or has no published weights of. Nothing is fetched."""
    from timm.models import get_pretrained_cfg

    if not is_buildable(model):
        create_network(TimmCall(model, {}))  # its error names the nearest models
    config = get_pretrained_cfg(model)
    if config is None or not config.has_weights:
        raise ConfigError(
            f"timm has no published weights of {model}; `timm.list_pretrained()` lists the models with weights"
        )


def fetch_published(call: TimmCall, what: str, way_out: str) -> nn.Module:
    """The network of a call with timm's published weights, from the cache or the hub.

    what, way_out: of the error: what can't be fetched, and how to give a file that was fetched elsewhere. Raises ConfigError.
    """
    if not is_buildable(call.name):
        create_network(TimmCall(call.name, {}))  # its error names the nearest models
    try:
        if not fetched_already(call.name):
            _reach_hub()
        return create_network(call, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the weights of {what} can't be fetched ({type(error).__name__}: {first_line(error, 80)}); on a machine with a network "
            f"run `hf download timm/{_hub_name(call.name)} model.safetensors --local-dir .`, copy that file and {way_out}"
        ) from error


def _reach_hub() -> None:
    """Raises OSError if the hub can't be reached: its own client would try for a minute, and log each attempt."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    if urllib.request.getproxies():  # then the proxy knows
        return
    address = urllib.parse.urlsplit(ENDPOINT)
    socket.create_connection((address.hostname or ENDPOINT, address.port or 443), timeout=10).close()


def _hub_name(model: str) -> str:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    return str(config.hf_hub_id).removeprefix("timm/") if config and config.hf_hub_id else model
