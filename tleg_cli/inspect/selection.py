"""Which tensors of an inspection are shown, and in what order: --module, --layer, --sort, --top."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tleg_cli.errors import ConfigError, did_you_mean
from tleg_cli.inspect.document import Against, FileEntry, Inspection, TensorEntry

COLUMNS = (
    "name", "layer", "parameters", "mean", "std", "min", "max", "norm", "spectral_norm", "effective_rank",
    "nan", "inf", "r2", "drift",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """module: a pattern of shell wildcards. layers: numbers of blocks. sort: one of COLUMNS, the largest first."""

    module: str | None = None
    layers: frozenset[int] | None = None
    sort: str | None = None
    top: int | None = None

    @property
    def any(self) -> bool:
        return self != Selection()

    def apply(self, document: Inspection) -> Inspection:
        """The document with what was chosen. Raises ConfigError if nothing is left of a file."""
        return {**document, "files": [self._file(file) for file in document["files"]]}

    def _file(self, file: FileEntry) -> FileEntry:
        chosen = [entry for entry in file["tensors"] if self._wants(entry)]
        if self.any and not chosen:
            raise ConfigError(self._nothing(file))
        if self.sort:
            chosen = _sorted(chosen, self.sort, file)
        kept: FileEntry = {**file, "tensors": chosen[: self.top]}
        if self.module is not None:
            kept["stacks"] = [entry for entry in file["stacks"] if self._fits(entry["module"])]
            if "modules" in file:
                kept["modules"] = [entry for entry in file["modules"] if self._fits(entry["module"])]
            if "against" in file:
                kept["against"] = self._against(file["against"])
        return kept

    def _against(self, against: Against) -> Against:
        return {
            **against,
            "tensors": [entry for entry in against["tensors"] if self._fits(entry["module"])],
            "modules": [entry for entry in against["modules"] if self._fits(entry["module"])],
        }

    def _wants(self, entry: Mapping[str, Any]) -> bool:
        return self._fits(entry["module"]) and (self.layers is None or entry["layer"] in self.layers)

    def _fits(self, module: str) -> bool:
        return self.module is None or fnmatch.fnmatchcase(module, self.module) or module.startswith(f"{self.module}.")

    def _nothing(self, file: Mapping[str, Any]) -> str:
        if self.module is not None:
            modules = {entry["module"] for entry in file["tensors"]}
            if not any(map(self._fits, modules)):
                return f"{file['file']}: no module fits {self.module!r}.{did_you_mean(self.module, modules)}"
        numbers = {entry["layer"] for entry in file["tensors"] if entry["layer"] is not None}
        layers = ", ".join(map(str, sorted(self.layers or ())))
        there = f"its blocks are {min(numbers)} to {max(numbers)}" if numbers else "it has no blocks of their own"
        return f"{file['file']}: nothing in layers {layers}; {there}"


def selection_of(
    *, module: str | None = None, layer: str | None = None, sort: str | None = None, top: int | None = None
) -> Selection:
    """A selection from options. Raises ConfigError for layers or a column that can't be."""
    if sort is not None and sort not in COLUMNS:
        raise ConfigError(f"--sort {sort}: no such column.{did_you_mean(sort, COLUMNS)}")
    return Selection(module, None if layer is None else frozenset(_numbers(layer)), sort, top)


def refuse_without_weights(selection: Selection, **options: object) -> None:
    """Raises ConfigError for what --shapes can't do, since it reads no weights. options: by name, set or not."""
    asked = [f"--{name}" for name, value in options.items() if value]
    if selection.sort not in (None, "name", "layer", "parameters"):
        asked.append(f"--sort {selection.sort}")
    if asked:
        raise ConfigError(f"--shapes reads no weights, which {asked[0]} needs; leave one of them out")


def _numbers(text: str) -> Iterable[int]:
    """`0,2-5` -> 0, 2, 3, 4, 5."""
    for item in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", item)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(f"--layer {text!r}: {item.strip()!r} is not a block; write 0, 2-5 or 0,11")
        yield from range(int(match[1]), int(match[2] or match[1]) + 1)


def _sorted(entries: list[TensorEntry], column: str, file: FileEntry) -> list[TensorEntry]:
    """Names upwards, numbers downwards, what has no number last."""
    if column == "name":
        return sorted(entries, key=lambda entry: str(entry["name"]))
    values = _values(column, file)
    known = [entry for entry in entries if values(entry) is not None]
    return sorted(known, key=values, reverse=True) + [entry for entry in entries if values(entry) is None]


def _values(column: str, file: FileEntry) -> Any:
    if column == "r2":
        of_stack = {stack["name"]: linear_r2(stack.get("linearity")) for stack in file["stacks"]}
        return lambda entry: of_stack.get(entry["stack"])
    if column == "drift":
        if "against" not in file:
            raise ConfigError("--sort drift needs --against FILE")
        drift = {entry["name"]: entry["drift"] for entry in file["against"]["tensors"]}
        return lambda entry: drift.get(entry["name"])
    return lambda entry: entry.get(column)


def linear_r2(linearity: Mapping[str, Any] | None) -> float | None:
    """R^2 against the linear basis, None if it wasn't asked for or can't be computed."""
    bases = linearity["bases"] if linearity else ()
    return next((entry["r2"] for entry in bases if entry["basis"] == "linear"), None)
