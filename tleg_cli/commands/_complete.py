"""What the shell offers after an option: presets, backbones, depths, keys of the config. Imports neither torch nor timm nor numba."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HEAVY = ("torch", "timm", "numba", "ffcv", "numpy")  # a plugin that needs them to be listed is left out: seconds


def presets(incomplete: str) -> list[str]:
    """The installed presets; after other letters the shell offers files."""
    from importlib import resources

    names = sorted(file.name for file in resources.files("tleg_cli.presets").iterdir())
    return [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]


def protocols(incomplete: str) -> list[str]:
    """The installed protocols of `tleg lab`."""
    from importlib import resources

    names = sorted(file.name for file in resources.files("tleg_cli.presets").joinpath("lab").iterdir())
    return [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]


def backbones(incomplete: str) -> list[str]:
    """Those of tleg and of every plugin that loads without torch."""
    from tleg_cli import plugin_manager

    with _nothing_heavy():
        return sorted(plugin_manager.backbones())


def bases(incomplete: str) -> list[str]:
    """tleg's bases; those with a number are shown with one."""
    return ["linear", "constant", "piecewise:3", "polynomial:2", "hat:3", "cosine:3"]


def devices(incomplete: str) -> list[tuple[str, str]]:
    """For --device."""
    return [("auto", "cuda if there is a GPU"), ("cuda", "a GPU"), ("cpu", "the processor")]


def depths(incomplete: str) -> list[tuple[str, str]]:
    """The grammar by example, before anything is written."""
    if incomplete:
        return []
    return [
        ("6", "one network"),
        ("3,6,9", "several networks"),
        ("3-12", "each depth from 3 to 12"),
        ("2:2:18:2", "blocks by stage, for Swin and ConvNeXt"),
    ]


def weight_sets(incomplete: str) -> list[tuple[str, str]]:
    """For --weights."""
    return [("auto", "EMA if there is one"), ("raw", "as trained"), ("ema", "moving average")]


def settings(incomplete: str) -> list[str]:
    """Keys of the config for --set, a section at a time: aux. aux.lr= aux.distillation.alpha="""
    from tleg_cli.config import Config, Section

    def below(section: type[Section], path: str) -> Iterator[str]:
        for key, field in section.model_fields.items():
            kinds = getattr(field.annotation, "__args__", (field.annotation,))
            inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
            if inner is None:
                yield f"{path}{key}="
            elif incomplete.startswith(f"{path}{key}."):
                yield from below(inner, f"{path}{key}.")
            else:
                yield f"{path}{key}."

    return list(below(Config, ""))


@contextmanager
def _nothing_heavy() -> Iterator[None]:
    """Within it, importing a heavy package that isn't loaded is an ImportError."""
    blocked = [name for name in _HEAVY if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in blocked:
            del sys.modules[name]
