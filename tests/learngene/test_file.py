"""learngene files: what goes in comes out, and what isn't a learngene is refused in one line."""

import json
import os
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.errors import FileFormatError, TlegError
from tleg_cli.learngene.basis import Basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene, write_learngene

SUFFIXES = [".pt", ".pth", ".safetensors"]


def one_line(path: Path, *bases: Basis) -> str:
    """The message with which `path` is refused."""
    with pytest.raises(FileFormatError) as caught:
        read_learngene(path, bases)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("depth", [(12,), (2, 2, 6, 2)])
@pytest.mark.parametrize("basis", ["linear", "hat:4"])
def test_a_file_holds_everything(make_learngene, tmp_path, suffix, depth, basis):
    before = make_learngene(basis, depth)
    write_learngene(before, tmp_path / f"gene{suffix}")
    after = read_learngene(tmp_path / f"gene{suffix}")
    assert after.metadata == before.metadata
    assert (after.stages, after.basis.name) == (before.stages, before.basis.name)
    for part in ("theta", "shared"):
        ours, theirs = getattr(before, part), getattr(after, part)
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    one, other = expand(before, depth), expand(after, depth)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_content_and_not_the_name_says_what_a_file_is(make_learngene, tmp_path):
    write_learngene(make_learngene(), tmp_path / "gene.safetensors")
    (tmp_path / "gene.safetensors").rename(tmp_path / "gene.pt")
    assert read_learngene(tmp_path / "gene.pt").metadata.classes == 10


def test_a_view_drags_no_storage_along(make_learngene, tmp_path):
    learngene = make_learngene()
    wide = torch.zeros(10, 200_000)
    write_learngene(replace(learngene, shared={"head.weight": wide[:, :2]}), tmp_path / "gene.pt")
    assert (tmp_path / "gene.pt").stat().st_size < 50_000


def test_a_trained_learngene_is_written_without_its_gradient(make_learngene, tmp_path):
    learngene = make_learngene()
    theta = {name: torch.nn.Parameter(tensor) for name, tensor in learngene.theta.items()}
    write_learngene(replace(learngene, theta=theta), tmp_path / "gene.pt")
    assert not any(tensor.requires_grad for tensor in read_learngene(tmp_path / "gene.pt").theta.values())


@pytest.mark.parametrize("name", ["gene.bin", "gene", "gene.pt.zip"])
def test_other_suffixes_are_refused_before_anything_is_written(make_learngene, tmp_path, name):
    with pytest.raises(FileFormatError, match="a learngene is written as"):
        write_learngene(make_learngene(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(make_learngene, tmp_path, monkeypatch):
    write_learngene(make_learngene(seed=1), tmp_path / "gene.pt")
    before = (tmp_path / "gene.pt").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TlegError, match="No space left"):
        write_learngene(make_learngene(seed=2), tmp_path / "gene.pt")
    assert (tmp_path / "gene.pt").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_files_and_folders_are_named(tmp_path):
    assert "no learngene at" in one_line(tmp_path / "nothing.pt")
    assert "that is a folder" in one_line(tmp_path)


def content_of(learngene, path: Path) -> dict:
    write_learngene(learngene, path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 4}, ["format version 4", "reads 1 to 3"]),
        ({"format_version": 3}, ["low_rank is missing"]),
        ({"format_version": 2}, ["expansion is missing"]),
        ({"format_version": "1"}, ["format version '1'"]),
        ({"format_version": {}}, ["format version {}"]),
        ({"format_version": True}, ["format version True"]),
        ({"format": "other"}, ["holds no state dict", "theta: dict of 4"]),
        ({"stages": None}, ["stages None"]),
        ({"stages": ["layers"]}, ["is in none of the stages layers"]),
        ({"basis": "liner"}, ["'liner'", "Did you mean 'linear'"]),
        ({"basis": "hat:4"}, ["needs 4"]),
        ({"basis": 3}, ["basis 3"]),
        ({"metadata": []}, ["metadata []"]),
        ({"theta": {"blocks.*.x": 3}}, ["theta is not a table of tensors"]),
        ({"theta": None}, ["theta is not a table of tensors"]),
        ({"shared": {1: torch.ones(1)}}, ["shared is not a table of tensors"]),
        ({"theta": {"blocks.*.x": torch.ones(3)}}, ["blocks.*.x", "needs 2"]),
        ({"theta": {"blocks.*.x": torch.tensor(1.0)}}, ["blocks.*.x", "()"]),
        ({"theta": {"elsewhere.*.x": torch.ones(2)}}, ["elsewhere.*.x is in none of the stages"]),
    ],
)
def test_changed_files_are_refused_by_what_is_wrong(make_learngene, tmp_path, change, words):
    content = content_of(make_learngene(), tmp_path / "gene.pt")
    torch.save({**content, **change}, tmp_path / "gene.pt")
    message = one_line(tmp_path / "gene.pt")
    for word in words:
        assert word in message


def test_further_fields_of_a_later_tleg_are_left_out(make_learngene, tmp_path):
    content = content_of(make_learngene(), tmp_path / "gene.pt")
    metadata = {**content["metadata"], "author": "someone"}
    torch.save({**content, "licence": "MIT", "metadata": metadata}, tmp_path / "gene.pt")
    assert read_learngene(tmp_path / "gene.pt").metadata == make_learngene().metadata


@pytest.mark.parametrize("key", ["format_version", "basis", "stages", "metadata", "theta", "shared"])
def test_missing_entries_are_refused(make_learngene, tmp_path, key):
    content = content_of(make_learngene(), tmp_path / "gene.pt")
    del content[key]
    torch.save(content, tmp_path / "gene.pt")
    one_line(tmp_path / "gene.pt")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"depth": []}, "depth"),
        ({"depth": [0]}, "depth"),
        ({"depth": ["12"]}, "depth"),
        ({"depth": [True]}, "depth"),
        ({"depth": [2, 2]}, "depth"),
        ({"depth": 12}, "depth"),
        ({"classes": -1}, "classes"),
        ({"classes": "10"}, "classes"),
        ({"classes": True}, "classes"),
        ({"image_size": 0}, "image_size"),
        ({"mean": ["a", 0, 0]}, "mean"),
        ({"mean": 0.5}, "mean"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [float("inf"), 1, 1]}, "std"),
        ({"std": [0.0, 1, 1]}, "std"),
        ({"crop_pct": 0}, "crop_pct"),
        ({"crop_pct": None}, "crop_pct"),
        ({"options": None}, "options"),
        ({"provenance": 3}, "provenance"),
        ({"backbone": 3}, "backbone"),
    ],
)
def test_metadata_is_checked_value_by_value(make_learngene, tmp_path, change, word):
    content = content_of(make_learngene(), tmp_path / "gene.pt")
    torch.save({**content, "metadata": {**content["metadata"], **change}}, tmp_path / "gene.pt")
    assert word in one_line(tmp_path / "gene.pt")


@pytest.mark.parametrize("key", ["backbone", "options", "depth", "classes", "image_size", "mean", "std"])
def test_missing_metadata_is_named(make_learngene, tmp_path, key):
    content = content_of(make_learngene(), tmp_path / "gene.pt")
    del content["metadata"][key]
    torch.save(content, tmp_path / "gene.pt")
    assert f"metadata {key} is missing" in one_line(tmp_path / "gene.pt")


class Bomb:
    """Touches a file when a pickle that holds it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, legacy):
    torch.save({"format": Bomb(tmp_path / "ran")}, tmp_path / "bad.pt", _use_new_zipfile_serialization=not legacy)
    assert "more than tensors and plain values" in one_line(tmp_path / "bad.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    one_line(tmp_path / "plain.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\x03\x04", b"\0" * 100, b"\xff" * 8 + b"{", b"\x05" + b"\0" * 7 + b"{}"]
)
def test_rubbish_is_refused(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    one_line(tmp_path / "bad.pt")


def test_other_torch_files_are_no_learngene(tmp_path):
    torch.save({"blocks.0.norm1.weight": torch.ones(2)}, tmp_path / "weights.pt")
    assert "tleg inspect" in one_line(tmp_path / "weights.pt")
    save_file({"x": torch.ones(2)}, tmp_path / "weights.safetensors")
    assert "tleg inspect" in one_line(tmp_path / "weights.safetensors")


def test_a_truncated_file_is_refused(make_learngene, tmp_path):
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"gene{suffix}"
        write_learngene(make_learngene(), path)
        path.write_bytes(path.read_bytes()[:-20])
        assert "can't be read" in one_line(path)


def test_a_forged_safetensors_header_is_refused(make_learngene, tmp_path):
    path = tmp_path / "gene.safetensors"
    for text in ("[]", "3", "{", json.dumps({"format": "tleg-learngene"}), "[" * 100_000):
        save_file({"theta/blocks.*.x": torch.ones(2)}, path, metadata={"tleg": text})
        one_line(path)
    write_learngene(make_learngene(), path)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = raw[8 : 8 + length].replace(b"shared/head.weight", b"mystery/headweight")
    path.write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])
    assert "neither to theta nor to shared" in one_line(path)


def test_a_file_is_a_plain_zip_without_code(make_learngene, tmp_path):
    write_learngene(make_learngene(), tmp_path / "gene.pt")
    with zipfile.ZipFile(tmp_path / "gene.pt") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert b"tleg_cli" not in archive.read(name)


def test_a_basis_of_a_plugin_is_needed_to_read_its_files(make_learngene, tmp_path):
    mine = Basis("mine", 2, lambda depth: torch.ones(depth, 2, dtype=torch.float64), (False, True))
    write_learngene(replace(make_learngene(), basis=mine), tmp_path / "gene.pt")
    assert "basis 'mine' is unknown" in one_line(tmp_path / "gene.pt")
    assert read_learngene(tmp_path / "gene.pt", [mine]).basis is mine
