"""A network or learngene with its card, onto the Hugging Face Hub: as timm and tleg find it there, and nothing about your machine."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.deploy.card import CardFacts, data_name, network_text
from tleg_cli.deploy.learngene_card import learngene_text
from tleg_cli.deploy.push import Hub, Pushed, push
from tleg_cli.errors import FileFormatError
from tleg_cli.files import temporary_folder
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models.model_file import ModelCard, read_card, read_weights, write_model
from tleg_cli.weights.header import LEARNGENE_FORMAT
from tleg_cli.weights.hub import LEARNGENES, NETWORKS
from tleg_cli.weights.read_header import read_header

README = "README.md"
_IN_A_FOLDER = ("model.safetensors", "teacher.safetensors", *LEARNGENES)


@dataclass(frozen=True)
class Subject:
    """What a card is about: the network or the learngene of a file."""

    file: Path
    content: ModelCard | Learngene

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the file says about its training."""
        return self.content.metadata.provenance if isinstance(self.content, Learngene) else self.content.provenance

    @property
    def depth(self) -> str:
        """At which the training scored a learngene; empty for a network."""
        return format_depth(self.content.metadata.depth) if isinstance(self.content, Learngene) else ""

    def card(self, facts: CardFacts) -> str:
        """The README."""
        if isinstance(self.content, Learngene):
            return learngene_text(self.content, facts)
        return network_text(self.content, facts)


def open_subject(path: Path) -> Subject:
    """The network or learngene of a file, or of the folder of a run.

    Raises FileFormatError for another folder and for a file that tleg did not write: its classes and preprocessing are unknown.
    """
    file = _file_in(path) if path.is_dir() else path
    if file.is_file() and read_header(file).tleg.get("format") == LEARNGENE_FORMAT:
        return Subject(file, read_learngene(file, plugin_manager.bases()))
    card = read_card(file)
    if card is None:
        raise FileFormatError(f"{file} was not written by tleg, so its classes and preprocessing are unknown")
    return Subject(file, card)


def _file_in(folder: Path) -> Path:
    for name in _IN_A_FOLDER:
        if (folder / name).is_file():
            return folder / name
    raise FileFormatError(
        f"{folder} has no model.safetensors and no learngene; give the folder of a network, such as runs/des/depth-06, "
        "of a teacher or of stage 1"
    )


def publish(subject: Subject, readme: Path, hub: Hub) -> Pushed:
    """Uploads README.md, config.json of a network, and the weights as safetensors, in one commit. Raises as push."""
    with temporary_folder() as scratch:
        folder = scratch / "repository"
        folder.mkdir()
        shutil.copyfile(readme, folder / README)
        _write_weights(subject.content, subject.file, folder)
        return push(hub, sorted(folder.iterdir()), "Upload by tleg")


def _write_weights(content: ModelCard | Learngene, file: Path, folder: Path) -> None:
    """Under the name that is looked for on the hub."""
    if isinstance(content, Learngene):
        metadata = replace(content.metadata, provenance=_public(content.metadata.provenance))
        write_learngene(replace(content, metadata=metadata), folder / LEARNGENES[0])
    else:
        card = replace(content, provenance=_public(content.provenance))
        write_model(folder / NETWORKS[0], read_weights(file), card)


def _public(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Without the command line, and without the folders of any path, at any depth of the table."""
    return {
        key: _public(value)
        if isinstance(value, Mapping)
        else data_name(value)
        if key in ("data", "file") and isinstance(value, str)
        else value
        for key, value in provenance.items()
        if key != "command"
    }
