"""Which cells a command is about: `--only method=a,b`, `--only depth=3,6`, `--seeds 0-4`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tleg_cli.config_file import load_config
from tleg_cli.data.ffcv.sidecar import read_pair
from tleg_cli.data.open import is_beton_folder
from tleg_cli.data.open_source import TIMM_SCHEMES, open_source
from tleg_cli.errors import ConfigError, DataError, did_you_mean
from tleg_cli.lab.plan import make_cells
from tleg_cli.lab.protocol import load_protocol
from tleg_cli.lab.study import Cell, Study, make_study
from tleg_cli.learngene.depths import Depth, format_depth

_MOST_SEEDS = 1000


def open_study(name_or_file: str, settings: Sequence[str] = (), assume: Callable[[str], None] | None = None) -> Study:
    """The protocol with its names looked up and its training images counted. settings: in addition to its own.

    assume: to count costs only. Nothing is downloaded, the protocol's own number counts if the data can't be opened, and assume gets
    a line that says so. Raises ConfigError or DataError.
    """
    protocol = load_protocol(name_or_file)
    protocol = protocol.model_copy(update={"settings": (*protocol.settings, *settings)})
    path = load_config(protocol.preset, protocol.settings).data.path
    if path is None:
        raise ConfigError(f"{name_or_file}: its preset names no data; add --set data.path=...")
    try:
        if assume and protocol.images and path.partition("/")[0] in TIMM_SCHEMES:
            raise DataError(f"{path} may have to be downloaded")
        images = _count(path)
    except DataError as error:
        if not assume or not protocol.images:
            raise
        assume(f"{error}; costs are counted for {protocol.images:,} training images")
        images = protocol.images
    return make_study(protocol, images)


def longer(study: Study) -> Study | None:
    """The same with the budget that the protocol calls converged; None without one."""
    protocol = study.protocol
    if protocol.converged is None:
        return None
    return make_study(protocol.model_copy(update={"budget": protocol.converged, "converged": None}), study.images)


def _count(path: str) -> int:
    if is_beton_folder(path):
        return read_pair(Path(path))[0].samples
    return len(open_source(path).train())


def choose(study: Study, only: Sequence[str], seeds: str | None) -> list[Cell]:
    """The cells that are asked for. Raises ConfigError for a method, depth or seed that isn't in the protocol, or is not one."""
    methods = [method.name for method in study.methods]
    depths: dict[str, Depth] = {format_depth(depth): depth for depth in study.depths}
    chosen = {"method": methods, "depth": list(depths)}
    for option in only:
        key, equals, names = option.partition("=")
        if not equals or key not in chosen:
            raise ConfigError(f"--only {option!r}: write method=A,B or depth=3,6")
        known = {"method": methods, "depth": list(depths)}[key]
        asked = names.split(",")
        for name in asked:
            if name not in known:
                raise ConfigError(f"--only {option}: {key} {name!r} is not in the protocol.{did_you_mean(name, known)}")
        chosen[key] = [name for name in known if name in asked]
    numbers = study.protocol.seeds if seeds is None else _seeds(seeds)
    return make_cells(study, chosen["method"], [depths[name] for name in chosen["depth"]], numbers)


def trained_block_images(cells: Sequence[Cell]) -> int:
    """What the cells cost in all; a source is trained once, whatever methods share it. An original costs nothing."""
    sources = {(one.name, cell.seed): one.block_images for cell in cells for one in cell.sources}
    rankings = {(cell.method.name, cell.seed): cell.ranking for cell in cells}
    return sum(sources.values()) + sum(rankings.values()) + sum(cell.block_images for cell in cells)


def _seeds(text: str) -> list[int]:
    found: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item.strip())
        if not match or not int(match[1]) <= int(match[2] or match[1]) < int(match[1]) + _MOST_SEEDS:
            raise ConfigError(f"--seeds {text!r}: write numbers from 0, as in 0-4 or 0,3")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) < len(found):
        raise ConfigError(f"--seeds {text!r} names a seed twice")
    return found
