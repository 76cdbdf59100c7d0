"""The document of `tleg inspect --json`, typed; docs/inspect-json.md explains every key. Every value is valid JSON."""

from __future__ import annotations

from typing import Any, TypedDict

from typing_extensions import NotRequired


class Theta(TypedDict):
    """A learngene's own thetas, or those that a linear fit gives a network."""

    basis: str
    fitted: bool
    norms: list[float | None]
    ratio: float | None
    cosine: float | None


class BasisFit(TypedDict):
    """R^2 of the layers for one basis, and what chance gives."""

    basis: str
    rank: int
    r2: float | None
    random: float | None
    shuffled_95: float | None
    p: float | None


class Components(TypedDict):
    """Principal components of the layers."""

    explained: list[float | None]
    places: list[list[float | None]]


class Linearity(TypedDict):
    """How far the layers of a network lie on a line over depth."""

    layers: int
    variation: float | None
    common: float | None
    common_random: float
    bases: list[BasisFit]
    pca: Components | None
    norms: list[float | None]


class TensorEntry(TypedDict):
    """One tensor. Its statistics are there unless only shapes were asked for."""

    name: str
    stack: str | None
    module: str
    layer: int | None
    part: str | None
    shape: list[int]
    dtype: str
    parameters: int
    mean: NotRequired[float | None]
    std: NotRequired[float | None]
    min: NotRequired[float | None]
    max: NotRequired[float | None]
    norm: NotRequired[float | None]
    nan: NotRequired[int]
    inf: NotRequired[int]
    spectral_norm: NotRequired[float | None]
    effective_rank: NotRequired[float | None]
    histogram: NotRequired[list[int]]


class StackEntry(TypedDict):
    """One weight of all blocks of a stage."""

    name: str
    stage: str
    module: str
    shape: list[int]
    layers: int | None
    parameters: int
    theta: NotRequired[Theta | None]
    linearity: NotRequired[Linearity | None]


class ModuleEntry(TypedDict):
    """All stacks of a module together."""

    stage: str
    module: str
    tensors: int
    measured: int
    parameters: int
    theta: Theta | None
    linearity: Linearity | None


class StageEntry(TypedDict):
    """All stacks of a stage together."""

    stage: str
    theta: Theta | None
    linearity: Linearity | None


class ProducedNetwork(TypedDict):
    depth: str
    parameters: int


class Produced(TypedDict):
    """The networks that the stored parameters expand to."""

    networks: list[ProducedNetwork]
    parameters: int
    stored: int
    ratio: float | None


class ParameterCounts(TypedDict):
    """stored = repeated + shared."""

    stored: int
    repeated: int
    shared: int
    buffers: int


class WeightSet(TypedDict):
    """Which weights of a checkpoint were read."""

    set: str
    available: list[str]
    note: str


class Against(TypedDict):
    """What changed since another file. The entries of tensors, modules and overall have drift, cosine and change."""

    file: str
    kind: str
    depth: str | None
    basis: str
    tensors: list[dict[str, Any]]
    modules: list[dict[str, Any]]
    overall: dict[str, float | None]
    missing: list[str]
    added: list[str]
    reshaped: list[dict[str, Any]]


class ProfileScore(TypedDict):
    depth: str
    top1: float


class Profile(TypedDict):
    """Top-1 in percent of a learngene's networks with no further training, under one expansion rule."""

    data: str
    positions: str
    step: str
    scores: list[ProfileScore]


class FileEntry(TypedDict):
    """One file. nan, inf, modules and overall are there unless only shapes were asked for."""

    file: str
    kind: str
    container: str
    bytes: int
    backbone: Any  # these four are what the file states about itself: any plain values
    classes: Any
    image_size: Any
    provenance: Any
    basis: str | None
    expansion: Any  # of a learngene: positions, step, branch_ends
    stages: list[str]
    depth: str | None
    beside: dict[str, str]
    weights: WeightSet
    low_rank: dict[str, list[int]]
    parameters: ParameterCounts
    dtypes: dict[str, int]
    produced: Produced | None
    stacks: list[StackEntry]
    tensors: list[TensorEntry]
    nan: NotRequired[int]
    inf: NotRequired[int]
    modules: NotRequired[list[ModuleEntry]]
    overall: NotRequired[list[StageEntry]]
    against: NotRequired[Against]
    profiles: NotRequired[list[Profile]]


class Inspection(TypedDict):
    schema: str
    schema_version: int
    files: list[FileEntry]
