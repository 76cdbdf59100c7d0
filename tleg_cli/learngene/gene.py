"""The learngene itself: stacked theta for what is expanded, plain tensors for what every depth shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tleg_cli.errors import FileFormatError
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.depths import MAX_DEPTH, Depth
from tleg_cli.learngene.expansion import PUBLISHED, Expansion
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.learngene.network_check import NetworkCheck

MAX_CLASSES = 10_000_000
MAX_NAME = 200  # characters of the name of a backbone, a basis or a stage


@dataclass(frozen=True)
class Metadata:
    """What a learngene was made from and for; plain values only, written into every file with the tensors."""

    backbone: str  # the name of a registered backbone
    options: Mapping[str, Any]  # its keyword arguments: img_size, embed_dim, ...; num_classes is `classes`
    depth: Depth  # the depth of the aux net: blocks of each stage
    classes: int
    input: InputSpec  # the images that it was trained on
    provenance: Mapping[str, Any] = field(default_factory=dict)  # who made it: versions, command, data, scores
    class_names: tuple[str, ...] | None = None  # of the head's outputs, in order; None: the file doesn't name them


@dataclass(frozen=True)
class Learngene:
    """theta[name]: (rank, *shape of one block's weight), its name with a `*` for the block's number.

    shared[name]: a tensor that every depth has as it is (patch embedding, positions, final norm, head).
    stages: the dotted names of the lists of repeated blocks (`("blocks",)` in a ViT), in the order of a Depth's numbers.
    network_check: with which timm's network the tensors were compared before they were written, if they were. stored: how many values its
    file has, if these are fewer because residuals are of low rank.
    Raises FileFormatError if theta doesn't fit the basis or the stages.
    """

    theta: Mapping[str, Tensor]
    shared: Mapping[str, Tensor]
    stages: tuple[str, ...]
    basis: Basis
    metadata: Metadata
    expansion: Expansion = PUBLISHED
    network_check: NetworkCheck | None = None
    stored: int | None = None

    def __post_init__(self) -> None:
        for name, tensor in self.theta.items():
            if tensor.ndim < 1 or tensor.shape[0] != self.basis.rank:
                raise FileFormatError(
                    f"theta of {name} has shape {tuple(tensor.shape)}, but basis {self.basis.name} "
                    f"needs {self.basis.rank} as its first dimension"
                )
            if self.stage_of(name) is None:
                raise FileFormatError(f"theta {name} is in none of the stages {', '.join(self.stages)}")
        if len(self.stages) != len(self.metadata.depth):
            raise FileFormatError(
                f"depth {self.metadata.depth} of the aux net doesn't have one number for each of the stages {self.stages}"
            )

    def stage_of(self, name: str) -> int | None:
        """The index of the stage that `name` (`blocks.*.attn.qkv.weight`) belongs to, None if there is none."""
        prefix, star, _ = name.partition(".*.")
        return self.stages.index(prefix) if star and prefix in self.stages else None

    def parameters(self) -> int:
        """How many values its tensors have."""
        return sum(tensor.numel() for part in (self.theta, self.shared) for tensor in part.values())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


# what each value must be, in words, and whether it is; image_size, mean, std and crop_pct are InputSpec's
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "backbone": ("the name of a backbone", lambda value: isinstance(value, str) and 0 < len(value) <= MAX_NAME),
    "options": ("a table", _is_table),
    "depth": (
        f"a list of whole numbers from 1 to {MAX_DEPTH}",
        lambda value: (
            isinstance(value, list | tuple)
            and bool(value)
            and all(_is_whole(blocks) and 0 < blocks <= MAX_DEPTH for blocks in value)
        ),
    ),
    "classes": (
        f"a whole number from 0 to {MAX_CLASSES}",
        lambda value: _is_whole(value) and 0 <= value <= MAX_CLASSES,
    ),
    "provenance": ("a table", _is_table),
    "class_names": (
        "a list of names",
        lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
    ),
}
_OPTIONAL = {"provenance", "class_names"}  # Metadata has defaults for them


def checked_metadata(values: Mapping[str, Any]) -> Metadata:
    """Metadata of plain values; further ones, of a later tleg, are left out.

    Raises FileFormatError that names the value that is missing or wrong.
    """
    for key in sorted(set(_RULES) - _OPTIONAL - set(values)):
        raise FileFormatError(f"metadata {key} is missing")
    own = {key: value for key, value in values.items() if key in _RULES}
    for key, value in own.items():
        rule, holds = _RULES[key]
        if not holds(value):
            raise FileFormatError(f"metadata {key} = {repr(value)[:80]} should be {rule}")
    tuples: dict[str, Any] = {key: tuple(own[key]) for key in ("depth", "class_names") if key in own}
    if "class_names" in own and len(own["class_names"]) != own["classes"]:
        raise FileFormatError(f"metadata class_names has {len(own['class_names'])} names for {own['classes']} classes")
    try:
        return Metadata(**(own | tuples), input=InputSpec.from_values(values))
    except FileFormatError as error:
        raise FileFormatError(f"metadata {error}") from None


def metadata_values(metadata: Metadata) -> dict[str, Any]:
    """Plain values, as checked_metadata reads them; names that are not known are left out, as in older files."""
    names: dict[str, Any] = {} if metadata.class_names is None else {"class_names": list(metadata.class_names)}
    return {
        "backbone": metadata.backbone,
        "options": dict(metadata.options),
        "depth": list(metadata.depth),
        "classes": metadata.classes,
        **metadata.input.values(),
        "provenance": dict(metadata.provenance),
        **names,
    }
