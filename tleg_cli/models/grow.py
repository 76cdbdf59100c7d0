"""`tleg expand` as a library call: descendants of several depths with no further training, written as files that timm loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tleg_cli.errors import ConfigError, FileFormatError, TlegError
from tleg_cli.files import file_hash
from tleg_cli.learngene.depths import Depth, format_depth
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.descendant import descendant_card, descendant_folder, full_depth
from tleg_cli.models.model_file import read_card, read_weights, write_model_later
from tleg_cli.models.network_check import checked_network

SUFFIX = ".safetensors"
_OTHER_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".onnx")  # any other is part of a folder's name, as in runs/v1.5


@dataclass(frozen=True)
class Grown:
    """One file that was written. create: the `timm.create_model` call that builds its network."""

    file: Path
    depth: str
    parameters: int
    create: str

    def as_dict(self) -> dict[str, Any]:
        return {"file": str(self.file), "depth": self.depth, "parameters": self.parameters, "create": self.create}


def grow(
    learngene: Learngene, depths: Sequence[Depth], source: Path, out: Path | None, *, force: bool = False
) -> list[Grown]:
    """Writes one network for each depth: into `out`, or next to `source`, the learngene's file.

    A file that holds the same network already is accepted: a call that was killed can be repeated. Raises TlegError for
    any other file that exists (unless `force`), before anything is written.
    """
    files = _files(depths, source, out)
    origin = {"file": source.name, "sha256": file_hash(source)}
    for file, depth in zip(files, depths, strict=True):
        if file.exists() and not force and not _holds(file, learngene, depth):
            raise TlegError(f"{file} exists already; choose another --out, or replace it with --force")
    return [_grow_one(learngene, depth, file, origin) for depth, file in zip(depths, files, strict=True)]


def _holds(file: Path, learngene: Learngene, depth: Depth) -> bool:
    """Whether a file has the very weights of the learngene at this depth."""
    try:
        found = read_weights(file) if read_card(file) is not None else {}
    except FileFormatError:
        return False
    grown = expand(learngene, full_depth(learngene, depth))
    return found.keys() == grown.keys() and all(torch.equal(found[name], value) for name, value in grown.items())


def _files(depths: Sequence[Depth], source: Path, out: Path | None) -> list[Path]:
    if out is not None and out.suffix in (SUFFIX, *_OTHER_SUFFIXES) and not out.is_dir():
        if out.suffix != SUFFIX:
            raise ConfigError(f"--out {out}: networks are written as {SUFFIX}; give such a file, or a folder")
        if len(depths) > 1:
            raise ConfigError(f"--out {out} is one file for {len(depths)} depths; give a folder")
        return [out]
    folder = source.parent if out is None else out
    return [folder / f"{source.stem}-{descendant_folder(depth)}{SUFFIX}" for depth in depths]


def _grow_one(learngene: Learngene, depth: Depth, file: Path, origin: dict[str, str]) -> Grown:
    metadata, full = learngene.metadata, full_depth(learngene, depth)
    network = checked_network(learngene, full)
    card = descendant_card(
        learngene, depth, metadata.classes, metadata.class_names, metadata.input.crop_pct, expanded_from=origin
    )
    write_model_later(file, network.weights, card)
    return Grown(file, format_depth(full), network.parameters, card.timm.source())
