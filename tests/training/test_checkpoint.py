"""Checkpoints: whole or passed over; the last two and the best stay."""

import json
import os

import pytest
import torch

from tleg_cli.errors import TlegError
from tleg_cli.training import checkpoint
from tleg_cli.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint


def content(step: int) -> Checkpoint:
    return Checkpoint({"model": {"w": torch.full((3,), float(step))}}, {"step": step})


def steps(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_and_the_best_are_kept(tmp_path):
    for step in range(1, 7):
        save_checkpoint(tmp_path, step, content(step), best=2)
    assert steps(tmp_path) == ["step-00000002", "step-00000005", "step-00000006"]


def test_what_was_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path, 7, content(7), best=None)
    found, passed_over = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"step": 7}
    assert torch.equal(found.tensors["model"]["w"], torch.full((3,), 7.0))
    assert passed_over == []


def test_nothing_is_found_in_an_empty_folder(tmp_path):
    assert newest_checkpoint(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("damage", ["flip a bit", "truncate", "no manifest", "manifest of nothing", "no tensors"])
def test_a_damaged_one_is_passed_over_and_said(tmp_path, damage):
    save_checkpoint(tmp_path, 1, content(1), best=None)
    save_checkpoint(tmp_path, 2, content(2), best=None)
    newest = tmp_path / "step-00000002"
    file = newest / "model.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "flip a bit":
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[:-4])
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    elif damage == "manifest of nothing":
        (newest / "manifest.json").write_text(json.dumps({"format_version": 2}))
    else:
        file.unlink()
    found, passed_over = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"step": 1}
    assert len(passed_over) == 1
    assert "step-00000002 is damaged" in passed_over[0]


def test_a_failing_disk_leaves_the_older_ones(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, content(1), best=None)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TlegError, match="No space left on device; older checkpoints are untouched"):
        save_checkpoint(tmp_path, 2, content(2), best=None)
    assert steps(tmp_path) == ["step-00000001"]


def test_it_is_not_there_before_it_is_whole(tmp_path, monkeypatch):
    """A crash right before the rename: what is on the disk is no checkpoint."""

    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 1, content(1), best=None)
    assert newest_checkpoint(tmp_path)[0] is None
