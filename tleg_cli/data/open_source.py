"""What `--data` names becomes a Source: a folder, tars, a published layout, a built-in name, a plugin's or timm's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tleg_cli import plugin_manager
from tleg_cli.data.folders import class_folders, list_split, split_folders
from tleg_cli.data.source import ArraySplit, FileSplit
from tleg_cli.errors import DataError, did_you_mean
from tleg_cli.hookspecs import Source, Split

TIMM_SCHEMES = ("torch", "hfds")
_DIGITS_TRAIN = 1297  # of 1797


def open_source(path: str) -> Source:
    """The source that `path` names: a folder, `digits`, `synthetic`, a plugin's or timm's `scheme/rest`.

    Something on the disk comes before a name. timm's take their folder after a colon: `torch/cifar100:/data/cifar`. Raises DataError.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return _on_disk(place)
    if place.exists():
        raise DataError(f"{path} is a file; give the folder that has train and val")
    scheme, slash, rest = path.partition("/")
    if path == "digits":
        return _digits()
    if scheme == "synthetic":
        from tleg_cli.data.synthetic import synthetic_source

        return synthetic_source(path, rest)
    if slash and scheme in TIMM_SCHEMES:
        from tleg_cli.data.timm_sources import timm_source

        return timm_source(path)
    plugins = _plugin_sources()
    if slash and scheme in plugins:
        return _from_plugin(scheme, plugins[scheme], rest)
    known = ["digits", "synthetic", *(f"{name}/..." for name in (*TIMM_SCHEMES, *plugins))]
    advice = did_you_mean(path, known) or " Give another --data, or write it with `tleg prepare`."
    raise DataError(f"no folder {path}, and no source of that name.{advice}")


def _on_disk(root: Path) -> Source:
    from tleg_cli.data.published import known_layout
    from tleg_cli.data.timm_sources import tar_source

    return tar_source(root) or known_layout(root) or _folder(root)


def _plugin_sources() -> dict[str, Callable[[str], Source]]:

    return plugin_manager.sources()


def _from_plugin(scheme: str, opener: Callable[[str], Source], rest: str) -> Source:
    source = opener(rest)
    if not isinstance(source, Source):
        raise DataError(f"the plugin source {scheme!r} returned {source!r}, which is no tleg_cli.data.source.Source")
    return source


def _folder(root: Path) -> Source:
    classes = class_folders(root)
    train, val = (partial(_open_files, folder, classes) for folder in split_folders(root))
    return Source(str(root), classes, train, val)


def _open_files(folder: Path, classes: tuple[str, ...]) -> Split:
    return FileSplit(list_split(folder, classes))


def _digits() -> Source:
    """scikit-learn's digits, 1797 real images of 8x8 pixels, mixed by a fixed seed: 1297 to train, 500 to score."""
    order = slice(0, _DIGITS_TRAIN), slice(_DIGITS_TRAIN, None)
    train, val = (partial(_digits_split, part) for part in order)
    return Source("digits", tuple("0123456789"), train, val, in_memory=True)


def _digits_split(part: slice) -> Split:
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[part]
    grey = np.round(data.images[order] * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    return ArraySplit(np.repeat(grey[..., None], 3, axis=3), data.target[order])
