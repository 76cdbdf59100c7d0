"""Every reader of weights, fed with damaged and hostile files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz.hostile import A_FEW_AND_MANY, Target, damaged, feed, plain, safetensors_files, torch_files, written
from tests.learngene.test_reference import reference_weights, save
from tleg_cli import plugin_manager
from tleg_cli.learngene.compress import compress
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.reference import read_reference
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import network_of, read_card, read_weights, write_model
from tleg_cli.weights.open import open_weights
from tleg_cli.weights.read_header import read_header


def read_all(path: Path) -> None:
    """Whatever tleg may do with a file of weights; each refusal is its own."""
    from tleg_cli.errors import TlegError

    def model() -> None:
        card = read_card(path)
        weights = read_weights(path)
        if card is not None:
            network_of(card, weights, str(path))

    def tensors() -> None:
        with open_weights(path) as (header, get):
            for name in header.tensors:
                get(name)

    refused = []
    for reader in (lambda: read_learngene(path, plugin_manager.bases()), lambda: read_header(path), tensors, model):
        try:
            reader()
        except TlegError as error:
            refused.append(error)
            assert "Traceback" not in str(error)


def torch_learngene(folder: Path, gene: Any) -> Target:
    write_learngene(gene, folder / "whole.pt")
    return lambda data: read_all(written(folder / "x.pt", data)), torch_files((folder / "whole.pt").read_bytes())


def safe_learngene(folder: Path, gene: Any) -> Target:
    write_learngene(gene, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    return lambda data: read_all(written(folder / "x.safetensors", data)), damaged(whole)


def safe_header(folder: Path, gene: Any) -> Target:
    write_learngene(gene, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    inputs = safetensors_files(header["__metadata__"]["tleg"])
    return lambda data: read_all(written(folder / "x.safetensors", data)), inputs


def forged_metadata(folder: Path, gene: Any) -> Target:
    """A sound file whose header says something else in one place."""
    return _forged(folder, gene, {})


def forged_parts(folder: Path, gene: Any) -> Target:
    """The same of a file that holds means and residuals of low rank."""
    return _forged(folder, gene, compress(gene, 0.9).low_rank)


def _forged(folder: Path, gene: Any, low_rank: Any) -> Target:
    write_learngene(gene, folder / "whole.safetensors", low_rank)
    whole = (folder / "whole.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])

    def check(change: tuple[str, str, Any]) -> None:
        where, key, value = change
        said = json.loads(header["__metadata__"]["tleg"])
        (said["metadata"] if where == "metadata" else said)[key] = value
        text = json.dumps({**header, "__metadata__": {"tleg": json.dumps(said)}}).encode()
        data = len(text).to_bytes(8, "little") + text + whole[8 + size :]
        read_all(written(folder / "x.safetensors", data))

    keys = st.sampled_from(
        ["format", "format_version", "basis", "stages", "metadata", "backbone", "options", "depth", "low_rank"]
    )
    ranks = st.dictionaries(st.sampled_from([*low_rank, "else"]), st.lists(st.integers(-1, 9), max_size=4) | plain)
    more = st.sampled_from(["classes", "image_size", "mean", "std", "crop_pct", "provenance", "else"])
    return check, st.tuples(st.sampled_from(["top", "metadata"]), keys | more, plain | ranks)


def reference(folder: Path, gene: Any) -> Target:
    """Checkpoints of the reference code, whose options are a Namespace: more is let in than elsewhere."""
    whole = save(folder / "whole.pth", reference_weights(16, patch=4, classes=3)).read_bytes()
    return lambda data: read_reference(written(folder / "x.pth", data), "vit", heads=2), torch_files(whole)


def descendant(folder: Path, gene: Any) -> Target:
    model = expanded_model(gene, (2,), 10)
    write_model(
        folder / "model.safetensors", model.state_dict(), descendant_card(gene, (2,), 10, None, 0.9, training={})
    )
    whole = (folder / "model.safetensors").read_bytes()
    return lambda data: read_all(written(folder / "y.safetensors", data)), damaged(whole)


TARGETS: dict[str, Callable[[Path, Any], Target]] = {
    maker.__name__: maker
    for maker in (torch_learngene, safe_learngene, safe_header, forged_metadata, forged_parts, reference, descendant)
}


@A_FEW_AND_MANY
@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_hostile_files(target, examples):
    feed(*target, examples)
