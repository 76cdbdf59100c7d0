"""learngene.pt and learngene.safetensors: tensors and plain metadata. Never a pickle with code, never half a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.files import atomic_file
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.compress import LowRank
from tleg_cli.learngene.expansion import PUBLISHED, checked_expansion, expansion_values
from tleg_cli.learngene.gene import MAX_NAME, Learngene, checked_metadata, metadata_values
from tleg_cli.learngene.network_check import network_check_values, read_network_check
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.low_rank import LOW_RANK, PARTS
from tleg_cli.weights.open import first_not_finite, read_weights
from tleg_cli.weights.save import own_copy, save_safetensors

# rises when an older reader would misunderstand a file; additional fields alone are not a reason
FORMAT_VERSION = 1
WITH_EXPANSION = 2  # a rule other than TLEG's, which a reader of version 1 would not follow
WITH_FACTORS = 3  # thetas as a mean and residuals of low rank, which a reader of version 2 would not find
_ADDED: dict[int, tuple[str, ...]] = {FORMAT_VERSION: (), WITH_EXPANSION: ("expansion",), WITH_FACTORS: (LOW_RANK,)}
SAFETENSORS = ".safetensors"
SUFFIXES = (".pt", ".pth", SAFETENSORS)
_MAX_STAGES = 64


def write_learngene(learngene: Learngene, path: Path, low_rank: Mapping[str, LowRank] | None = None) -> None:
    """Writes `path`, whose suffix chooses the format (.pt or .safetensors), atomically.

    low_rank: of the thetas that are written as a mean and residuals of low rank; the reader makes the thetas again.
    Raises FileFormatError for another suffix, TlegError if the system refuses.
    """
    if path.suffix not in SUFFIXES:
        raise FileFormatError(
            f"{path}: a learngene is written as {' or '.join(SUFFIXES)}, not {path.suffix or 'without suffix'}"
        )
    header = {
        "format": LEARNGENE_FORMAT,
        "format_version": FORMAT_VERSION,
        "basis": learngene.basis.name,
        "stages": list(learngene.stages),
        "metadata": metadata_values(learngene.metadata),
    }
    if learngene.expansion != PUBLISHED:
        header |= {"format_version": WITH_EXPANSION, "expansion": expansion_values(learngene.expansion)}
    if learngene.network_check is not None:
        header["network_check"] = network_check_values(learngene.network_check)
    parts = {"theta": learngene.theta, "shared": learngene.shared}
    if low_rank:
        header |= {"format_version": WITH_FACTORS, LOW_RANK: {name: list(one.ranks) for name, one in low_rank.items()}}
        parts["theta"] = {name: tensor for name, tensor in learngene.theta.items() if name not in low_rank}
        parts |= {part: {name: getattr(one, part) for name, one in low_rank.items()} for part in PARTS}
    if path.suffix == SAFETENSORS:
        save_safetensors(
            path, {f"{part}/{name}": tensor for part, table in parts.items() for name, tensor in table.items()}, header
        )
        return
    plain_header = json.loads(json.dumps(header, allow_nan=False))  # tuples become lists, as in a .safetensors
    tables = {part: {name: own_copy(tensor) for name, tensor in table.items()} for part, table in parts.items()}
    with atomic_file(path) as temporary:
        torch.save({**plain_header, **tables}, temporary)


def read_learngene(path: Path, bases: Iterable[Basis] = ()) -> Learngene:
    """The learngene of a file, on the CPU. `bases`: more than the built-in ones.

    Raises FileFormatError for anything that isn't a learngene which this version understands, for damage, and for theta or
    shared tensors that hold NaN or Inf.
    """
    if not path.is_file():
        raise FileFormatError(f"no learngene at {path}{': that is a folder' if path.is_dir() else ''}")
    found = read_weights(path)
    header = found.header.tleg
    if header.get("format") != LEARNGENE_FORMAT:
        raise FileFormatError(f"{path} is not a learngene file; run `tleg inspect {path}` to see what it contains")
    _check_header(header, path)
    theta, shared = _parts(found.tensors, path)
    try:
        learngene = Learngene(
            theta=theta,
            shared=shared,
            stages=tuple(header["stages"]),
            basis=get_basis(header["basis"], bases),
            metadata=checked_metadata(header["metadata"]),
            expansion=checked_expansion(header.get("expansion")),
            network_check=read_network_check(header.get("network_check")),
            stored=sum(map(found.header.stored, found.tensors)) if found.header.factors else None,
        )
    except (FileFormatError, ConfigError) as error:
        raise FileFormatError(f"{path}: {error}") from None
    check_values(learngene, path)
    return learngene


def check_values(learngene: Learngene, path: Path) -> None:
    """Raises FileFormatError for a theta that can't be expanded, and for NaN or Inf, which every descendant would inherit."""
    for part, tensors in (("theta", learngene.theta), ("shared", learngene.shared)):
        for name, tensor in tensors.items():
            precise = tensor.is_floating_point() and tensor.itemsize > 1
            whole = not tensor.is_floating_point() and not tensor.is_complex()  # indices and masks, as Swin has
            if not precise and not (whole and part == "shared"):
                raise FileFormatError(
                    f"{path}: {part} of {name} holds {str(tensor.dtype).removeprefix('torch.')}; "
                    "a learngene needs floating-point values of 16 bits or more"
                )
        broken = first_not_finite(tensors)
        if broken is not None:
            raise FileFormatError(
                f"{path}: {part} of {broken} holds NaN or Inf, which every descendant would inherit; "
                f"run `tleg inspect {path} --tensors --sort nan` to see where"
            )


def _parts(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"theta": {}, "shared": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part not in parts:
            raise FileFormatError(f"{path}: tensor {key!r} belongs neither to theta nor to shared")
        parts[part][name] = tensor
    return parts["theta"], parts["shared"]


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    """Further entries are left to later versions, which raise the format version if these can't be ignored."""
    version = header.get("format_version")
    if type(version) is not int or version not in _ADDED:
        raise FileFormatError(
            f"{path} has format version {version!r}; this tleg reads {FORMAT_VERSION} to {WITH_FACTORS}: use the tleg that wrote it"
        )
    wanted = ("basis", "stages", "metadata", *_ADDED[version])
    if missing := [key for key in wanted if key not in header]:
        raise FileFormatError(f"{path}: {missing[0]} is missing; a learngene file of version {version} has it")
    stages = header["stages"]
    if (
        not isinstance(stages, list)
        or not 1 <= len(stages) <= _MAX_STAGES
        or not all(isinstance(stage, str) and 0 < len(stage) <= MAX_NAME for stage in stages)
        or len(set(stages)) < len(stages)
    ):
        raise FileFormatError(
            f"{path}: stages {repr(stages)[:80]} should be a list of 1 to {_MAX_STAGES} different names"
        )
    if not isinstance(header["basis"], str) or len(header["basis"]) > MAX_NAME:
        raise FileFormatError(f"{path}: basis {repr(header['basis'])[:80]} should be the name of a basis")
    if not isinstance(header["metadata"], dict):
        raise FileFormatError(f"{path}: metadata {repr(header['metadata'])[:80]} should be a table")
