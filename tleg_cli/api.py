"""The public face of tleg in Python, for notebooks, scripts and plugins. Everything outside it may change between versions.

    import tleg_cli.api as tleg

    learngene = tleg.read_learngene("learngene.pt")
    model = tleg.create(learngene, depth=6)

Importing it is cheap: torch and timm are loaded by the first name that needs them. docs/python.md shows every function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tleg_cli.errors import ConfigError, DataError, FileFormatError, PluginError, TlegError
from tleg_cli.hookspecs import (
    API_VERSION,
    Backbone,
    BlockLayout,
    Source,
    Split,
    Tracker,
    hookimpl,
)
from tleg_cli.initialiser import SEPARATE, Initialiser, Mixing
from tleg_cli.learngene.depths import Depth, format_depth, parse_depths

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tleg_cli.inspect.document import FileEntry
    from tleg_cli.learngene.basis import Basis, positions
    from tleg_cli.learngene.expansion import Expansion
    from tleg_cli.learngene.fit import Fitted
    from tleg_cli.learngene.gene import Learngene, Metadata
    from tleg_cli.learngene.input_spec import InputSpec

__all__ = [
    "API_VERSION",
    "SEPARATE",
    "Backbone",
    "Basis",
    "BlockLayout",
    "ConfigError",
    "DataError",
    "Depth",
    "Expansion",
    "FileFormatError",
    "Fitted",
    "Initialiser",
    "InputSpec",
    "Learngene",
    "Metadata",
    "Mixing",
    "PluginError",
    "Source",
    "Split",
    "TlegError",
    "Tracker",
    "create",
    "expand",
    "fit",
    "format_depth",
    "fresh_weights",
    "hookimpl",
    "inspect",
    "mix_blocks",
    "parse_depths",
    "positions",
    "read_learngene",
    "write_learngene",
]

_NEEDS_TORCH = {  # name -> where it is defined; imported when it is first used (PEP 562)
    "Basis": "tleg_cli.learngene.basis",
    "positions": "tleg_cli.learngene.basis",
    "Expansion": "tleg_cli.learngene.expansion",
    "Fitted": "tleg_cli.learngene.fit",
    "InputSpec": "tleg_cli.learngene.input_spec",
    "Learngene": "tleg_cli.learngene.gene",
    "Metadata": "tleg_cli.learngene.gene",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_NEEDS_TORCH[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def read_learngene(path: str | Path) -> Learngene:
    """The learngene of a .pt or .safetensors file, or on the Hugging Face Hub, on the CPU. Nothing in the file is executed.

    path: of the file, or `hf-hub:USER/NAME[/FILE][@REVISION]`, which is fetched into the hub's cache. Raises FileFormatError if
    the file is not a learngene, ConfigError if its basis needs a plugin that is not installed, TlegError if the hub can't be reached.

        read_learngene("hf-hub:USER/NAME")
    """
    from tleg_cli import plugin_manager
    from tleg_cli.learngene.file import read_learngene as read
    from tleg_cli.weights.hub import local_file

    return read(local_file(Path(path)), plugin_manager.bases())


def write_learngene(learngene: Learngene, path: str | Path, *, keep: float | None = None, half: bool = False) -> None:
    """Writes a learngene atomically; the suffix chooses the format (.pt or .safetensors).

    keep: at most this share of its values, the thetas of matrices as a mean and residuals of low rank. half: in float16. What is read
    from the file then differs from `learngene`. Raises ConfigError for a share that can't be.
    """
    from tleg_cli.learngene.compress import compress, halved
    from tleg_cli.learngene.file import write_learngene as write

    if half:
        learngene = halved(learngene)
    if keep is None:
        write(learngene, Path(path))
    else:
        compressed = compress(learngene, keep)
        write(compressed.learngene, Path(path), compressed.low_rank)


def expand(
    learngene: Learngene, depth: int | str | Depth, *, step: str | None = None, positions: str | None = None
) -> dict[str, Tensor]:
    """The weights of a network of `depth` blocks, by their timm names. Pure and differentiable.

    depth: 6, or for a backbone with stages "2:2:18:2" or (2, 2, 18, 2); a single number sets its deepest stage.
    step, positions: another rule for depths other than the trained one, as `tleg expand` takes it (docs/method.md).
    """
    from tleg_cli.learngene.expand import expand as expand_learngene
    from tleg_cli.models.branches import reread
    from tleg_cli.models.descendant import full_depth

    return expand_learngene(reread(learngene, positions, step), full_depth(learngene, _one_depth(depth)))


def mix_blocks(
    source: Learngene, depth: int | str | Depth, rows: Callable[[int, int], Tensor], *, step: str = "none"
) -> dict[str, Tensor]:
    """The weights of a network each of whose blocks is a combination of the blocks of a trained one, by their timm names.

    source: the trained network. rows: (blocks, trained blocks) of a stage -> the matrix (blocks, trained blocks) of the combination.
    step: what the blocks' branches are multiplied by, as in `expand`.

        every_second = mix_blocks(source, 6, lambda blocks, trained: torch.eye(trained)[::2])
    """
    from tleg_cli.models.descendant import full_depth
    from tleg_cli.models.mix_blocks import mix_blocks as mix

    return mix(source, full_depth(source, _one_depth(depth)), rows, step)


def create(
    learngene: Learngene | str | Path,
    depth: int | str | Depth,
    *,
    classes: int | None = None,
    step: str | None = None,
    positions: str | None = None,
) -> nn.Module:
    """A timm model of `depth` blocks with the weights of the learngene, ready to use or to train.

    learngene: in memory, the path of its file, or `hf-hub:USER/NAME`. classes: of another data set; the head is then freshly
    initialised, also if the number is the same. step, positions: another rule for depths other than the trained one, as `tleg expand`
    takes it (docs/method.md).
    Raises FileFormatError if the learngene doesn't fit its backbone.

        model = create("learngene.pt", depth=9)
    """
    from tleg_cli.models.branches import reread
    from tleg_cli.models.descendant import expanded_model

    read = read_learngene(learngene) if isinstance(learngene, str | Path) else learngene
    return expanded_model(reread(read, positions, step), _one_depth(depth), classes, fresh_head=classes is not None)


def fresh_weights(source: Learngene, depth: int | str | Depth) -> dict[str, Tensor]:
    """The weights of a freshly initialised network of this depth, like the learngene's networks; from torch's generator."""
    from tleg_cli import plugin_manager
    from tleg_cli.models.build import build_model
    from tleg_cli.models.descendant import full_depth

    metadata = source.metadata
    backbone = plugin_manager.get_backbone(metadata.backbone)
    model = build_model(backbone, metadata.options, full_depth(source, _one_depth(depth)), metadata.classes)
    return dict(model.state_dict())


def fit(
    checkpoint: str | Path,
    basis: str = "linear",
    *,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Fitted:
    """The learngene nearest to a trained network in the sense of least squares, without data: `fit(...).learngene`.

    backbone: default, the one that the file names or whose shapes it has. options: what shapes can't show, as in num_heads.
    Raises FileFormatError if the file is not a network of a registered backbone, ConfigError for an unknown basis.
    """
    from tleg_cli import plugin_manager
    from tleg_cli.models.fit_checkpoint import fit_file

    return fit_file(Path(checkpoint), plugin_manager.get_basis(basis), backbone, options)


def inspect(
    file: str | Path,
    *,
    shapes_only: bool = False,
    bases: Sequence[str] = (),
    depths: str | None = None,
    against: str | Path | None = None,
) -> FileEntry:
    """What `tleg inspect --json` reports for one file, as plain values; docs/inspect-json.md describes the keys.

    shapes_only: read the header alone, without torch. bases: measure the layers against these; default, the usual ones.
    depths: count the parameters of networks of these depths. against: another file; reports what changed since.
    """
    from tleg_cli.inspect.inspection import inspect_file
    from tleg_cli.inspect.overview import InspectOptions

    other = None if against is None else Path(against)
    return inspect_file(Path(file), InspectOptions(depths, None if shapes_only else tuple(bases), other))


def _one_depth(depth: int | str | Depth) -> Depth:
    if not isinstance(depth, int | str):
        return depth
    (*others, one) = parse_depths(str(depth))
    if others:
        raise ConfigError(f"depth {depth!r} names {len(others) + 1} networks; give one depth, as in 6 or 2:2:18:2")
    return one
