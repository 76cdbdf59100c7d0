"""The measured part of `tleg inspect`: statistics of every tensor, theta_A against theta_B, linearity over the layers."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from tleg_cli import plugin_manager
from tleg_cli.inspect.document import FileEntry, Linearity, ModuleEntry, StackEntry, StageEntry, TensorEntry, Theta
from tleg_cli.inspect.layout import FileLayout, Row, layout_of
from tleg_cli.inspect.linearity import USUAL_BASES, finite, linearity
from tleg_cli.inspect.overview import InspectOptions, overview
from tleg_cli.inspect.statistics import Statistics, statistics
from tleg_cli.learngene.basis import Basis, get_basis
from tleg_cli.learngene.gram import Gram, gram, theta_products
from tleg_cli.one_thread import one_thread
from tleg_cli.weights.open import Get, open_weights

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """statistics: by the rows' names. grams: by the stacks' names, without those that hold NaN, Inf or whole numbers."""

    statistics: Mapping[str, Statistics]
    grams: Mapping[str, Gram]


def measured_file(path: Path, options: InspectOptions) -> FileEntry:
    """overview() of one file with everything that its numbers say."""
    bases = [get_basis(name, plugin_manager.bases()) for name in options.bases or USUAL_BASES]
    with open_weights(path, options.weights) as (header, get):
        layout = layout_of(path, header)
        document = overview(layout, options.depths)
        if options.bases is None:
            return document
        measured = measure(layout, get)
    _add(document, layout, measured, bases)
    return document


def measure(layout: FileLayout, get: Get) -> Measured:
    """One pass over the file, stack by stack: no more than one stack is in memory."""
    found: dict[str, Statistics] = {}
    grams: dict[str, Gram] = {}
    by_stack: dict[str | None, list[Row]] = defaultdict(list)
    for row in layout.rows:
        by_stack[row.stack].append(row)
    groups = [(None, [row]) for row in by_stack.pop(None, [])] + list(by_stack.items())
    with _a_tensor_a_core() as each:
        for stack, rows in groups:
            tensors = [slice_of(get, row) for row in rows]
            found |= zip((row.name for row in rows), each(statistics, tensors), strict=True)
            whole = all(found[row.name].nan + found[row.name].inf == 0 for row in rows)
            if stack and whole and all(row.is_parameter and row.info.numel for row in rows):
                grams[stack] = gram(tensors)
    return Measured(found, grams)


@contextlib.contextmanager
def _a_tensor_a_core() -> Iterator[Callable[..., Iterable[Any]]]:
    """A map over tensors, one on each core and each by a single thread."""
    most = 4  # large tensors of which memory holds copies in float64
    with one_thread() as threads, ThreadPoolExecutor(min(threads, most)) as pool:
        yield pool.map


def slice_of(get: Get, row: Row) -> Tensor:
    """The tensor of a row: a complete one of the file, or one theta_k of it."""
    return get(row.key) if row.index is None else get(row.key)[row.index]


def _add(document: FileEntry, layout: FileLayout, measured: Measured, bases: Sequence[Basis]) -> None:
    for tensor in document["tensors"]:
        values = {key: finite(value) for key, value in asdict(measured.statistics[tensor["name"]]).items()}
        tensor.update(cast(TensorEntry, values))
    document["nan"] = sum(one.nan for one in measured.statistics.values())
    document["inf"] = sum(one.inf for one in measured.statistics.values())
    for stack in document["stacks"]:
        stack["theta"], stack["linearity"] = across_layers(layout, measured.grams.get(stack["name"]), bases)
    document["modules"] = _modules(document, layout, measured, bases)
    document["overall"] = [_stage(document, layout, measured, bases, stage) for stage in layout.stages]


def _modules(document: FileEntry, layout: FileLayout, measured: Measured, bases: Sequence[Basis]) -> list[ModuleEntry]:
    modules: dict[tuple[str, str], list[StackEntry]] = defaultdict(list)
    for stack in document["stacks"]:
        modules[stack["stage"], stack["module"]].append(stack)
    entries: list[ModuleEntry] = []
    for (stage, module), stacks in modules.items():
        theta, found = across_layers(layout, _together(measured.grams, stacks), bases)
        entries.append(
            {
                "stage": stage,
                "module": module,
                "tensors": len(stacks),
                "measured": sum(stack["name"] in measured.grams for stack in stacks),
                "parameters": sum(stack["parameters"] for stack in stacks),
                "theta": theta,
                "linearity": found,
            }
        )
    return entries


def _stage(
    document: FileEntry, layout: FileLayout, measured: Measured, bases: Sequence[Basis], stage: str
) -> StageEntry:
    own = [stack for stack in document["stacks"] if stack["stage"] == stage]
    theta, found = across_layers(layout, _together(measured.grams, own), bases)
    return {"stage": stage, "theta": theta, "linearity": found}


def _together(grams: Mapping[str, Gram], stacks: Iterable[StackEntry]) -> Gram | None:
    """The Gram of several stacks side by side is the sum of theirs."""
    total: Gram | None = None
    for stack in stacks:
        one = grams.get(stack["name"])
        if one is not None:
            total = one if total is None else total + one
    return total


def across_layers(layout: FileLayout, of: Gram | None, bases: Sequence[Basis]) -> tuple[Theta | None, Linearity | None]:
    """A learngene's own theta; of a network, the theta that a linear fit gives, and its linearity."""
    if of is None:
        return None, None
    if layout.is_learngene:
        return _theta(str(layout.basis), of.products(), fitted=False), None
    linear = get_basis("linear")
    fitted = _theta("linear", theta_products(of, linear.matrix(of.layers)), fitted=True) if of.layers > 1 else None
    return fitted, linearity(of, bases)


def _theta(basis: str, products: Tensor, *, fitted: bool) -> Theta:
    """products: (rank, rank) inner products of the thetas. ratio and cosine: of theta_A to theta_B, linear basis only."""
    norms = products.diagonal().clamp(min=0).sqrt()
    ratio = cosine = None
    if basis == "linear" and len(norms) == 2 and norms[0] > 0:
        ratio = finite(float(norms[1] / norms[0]))
        if norms[1] > 1e-12 * norms[0]:  # else theta_A is 0, and points nowhere
            cosine = finite(float((products[0, 1] / (norms[0] * norms[1])).clamp(-1, 1)))
    return {
        "basis": basis,
        "fitted": fitted,
        "norms": [finite(value) for value in norms.tolist()],
        "ratio": ratio,
        "cosine": cosine,
    }
