"""What `--data` names becomes a Source: a folder, tars, a published layout, a built-in name, a plugin's or timm's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tleg_cli import plugin_manager
from tleg_cli.data.folders import class_folders, list_split, split_folders
from tleg_cli.data.reopened import safe_to_fork
from tleg_cli.data.small_sets import digits, mnist5k
from tleg_cli.data.source import FileSplit
from tleg_cli.data.subsets import SUBSETS, subset_source
from tleg_cli.errors import DataError, did_you_mean
from tleg_cli.files import special_file
from tleg_cli.hookspecs import Source, Split

TIMM_SCHEMES = ("torch", "hfds")
_SMALL = {"digits": digits, "mnist5k": mnist5k}


def open_source(path: str, *, exif_orientation: bool = True) -> Source:
    """The source that `path` names: a folder, `digits`, `mnist5k`, `synthetic`, a part of another one (subsets.py), a plugin's or timm's
    `scheme/rest`.

    Something on the disk comes before a name. timm's take their folder after a colon: `torch/cifar100:/data/cifar`.
    exif_orientation: turn photographs upright as their EXIF data say. Raises DataError.
    """
    place = Path(os.path.expanduser(path))
    if os.path.isdir(place):
        return _on_disk(place, exif_orientation)
    if os.path.exists(place):
        kind = special_file(os.stat(place).st_mode) or "a file"
        raise DataError(f"{path} is {kind}; give the folder that has train and val")
    scheme, slash, rest = path.partition("/")
    if path in _SMALL:
        return _SMALL[path]()
    if scheme == "synthetic":
        from tleg_cli.data.synthetic import synthetic_source

        return synthetic_source(path, rest)
    if scheme in SUBSETS:
        return subset_source(path, scheme, rest, partial(open_source, exif_orientation=exif_orientation))
    if slash and scheme in TIMM_SCHEMES:
        from tleg_cli.data.timm_sources import timm_source

        return timm_source(path, exif_orientation=exif_orientation)
    plugins = plugin_manager.sources()
    if slash and scheme in plugins:
        return _from_plugin(scheme, plugins[scheme], rest)
    known = [*_SMALL, "synthetic", *(f"{name}/..." for name in (*SUBSETS, *TIMM_SCHEMES, *plugins))]
    advice = did_you_mean(path, known) or " Give another --data, or write it with `tleg prepare`."
    raise DataError(f"no folder {path}, and no source of that name.{advice}")


def _on_disk(root: Path, exif_orientation: bool) -> Source:
    from tleg_cli.data.idx import idx_source
    from tleg_cli.data.published import known_layout
    from tleg_cli.data.tars import tar_source

    tars = tar_source(root, exif_orientation=exif_orientation)
    return (
        tars
        or idx_source(root)
        or known_layout(root, exif_orientation=exif_orientation)
        or _folder(root, exif_orientation)
    )


def _folder(root: Path, exif_orientation: bool) -> Source:
    classes = class_folders(root)
    train, val = (partial(_open_files, folder, classes, exif_orientation) for folder in split_folders(root))
    return Source(str(root), classes, train, val)


def _open_files(folder: Path, classes: tuple[str, ...], exif_orientation: bool) -> Split:
    return FileSplit(list_split(folder, classes), exif_orientation)


def _from_plugin(scheme: str, opener: Callable[[str], Source], rest: str) -> Source:
    source = opener(rest)
    if not isinstance(source, Source):
        raise DataError(f"the plugin source {scheme!r} returned {source!r}, which is not a tleg_cli.hookspecs.Source")
    return replace(source, train=partial(safe_to_fork, source.train), val=partial(safe_to_fork, source.val))
