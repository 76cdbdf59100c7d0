"""A full or read-only disk at each save: one line, the old state intact, and the same command carries on when there is room."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import in_its_own_process
from tests.data.conftest import write_folder
from tests.processes import aux_command, same_weights, saved
from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.errors import TlegError
from tleg_cli.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from tleg_cli.training.run_folder import RunFolder, write_metrics
from tleg_cli.training.train_teacher import train_teacher


@contextlib.contextmanager
def mounted(path: Path, kilobytes: int) -> Iterator[Path]:
    path.mkdir()
    options = ["-o", f"size={kilobytes}k"]
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", path], check=False).returncode:
        pytest.skip("needs root, who may mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with mounted(tmp_path / "disk", 2048) as path:
        yield path


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Nothing more fits, but `leave` bytes."""
    free = shutil.disk_usage(disk).free - leave
    (disk / "filler").write_bytes(bytes(free))
    return disk / "filler"


def content(value: float, numbers: int = 50_000) -> Checkpoint:
    return Checkpoint({"model": {"w": torch.full((numbers,), value)}}, {"step": int(value)})


@pytest.mark.parametrize("leave", [0, 4096, 100_000, 204_800])
def test_a_checkpoint(disk, leave):
    save_checkpoint(disk / "checkpoints", 1, content(1.0), best=None)
    filler = fill(disk, leave=leave)
    with pytest.raises(
        TlegError, match="can't write checkpoint .*step-00000002: .*No space left.*older checkpoints are untouched"
    ):
        save_checkpoint(disk / "checkpoints", 2, content(2.0), best=None)
    assert [path.name for path in (disk / "checkpoints").iterdir()] == ["step-00000001"]
    found, passed_over = newest_checkpoint(disk / "checkpoints")
    assert found is not None
    assert (found.state["step"], passed_over) == (1, [])
    filler.unlink()
    save_checkpoint(disk / "checkpoints", 2, content(2.0), best=None)
    assert newest_checkpoint(disk / "checkpoints")[0] is not None


def test_metrics(disk):
    run = RunFolder(disk)
    write_metrics(run, [{"epoch": 1}])
    before = run.metrics.read_text()
    fill(disk)
    with pytest.raises(TlegError, match="can't write .*metrics.jsonl: No space left on device"):
        write_metrics(run, [{"epoch": 1, "more": "x" * 10_000}])
    assert run.metrics.read_text() == before
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "metrics.jsonl"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("leave", [0, 8192])
def test_a_learngene(disk, made, suffix, leave):
    from tleg_cli.learngene.file import read_learngene, write_learngene

    gene = read_learngene(made.learngene)
    target = disk / f"learngene{suffix}"
    write_learngene(gene, target)
    before = target.read_bytes()
    fill(disk, leave=leave)
    with pytest.raises(TlegError, match=f"can't write {target}: "):
        write_learngene(gene, target)
    assert target.read_bytes() == before
    assert sorted(path.name for path in disk.iterdir()) == ["filler", target.name]


def test_what_expand_writes(disk, tleg, made):
    fill(disk, leave=12_288)
    done = tleg("expand", made.learngene, "--depth", "3,4,5", "--out", disk)
    assert done.code == 1
    assert done.err.startswith(f"error: can't write {disk}/")
    assert len(done.err.splitlines()) == 1
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_run_stops_in_one_line_and_carries_on_when_there_is_room(disk, tmp_path):
    """The second checkpoint finds no room; the first one stays, and the weights end as if nothing had been."""
    config, full = tiny_config("teacher.recipe.epochs=3"), tiny_config("teacher.recipe.epochs=3")
    onlooker = Onlooker(lambda step: fill(disk, leave=100_000) if step == 7 else None)
    with pytest.raises(TlegError, match="can't write checkpoint .*step-00000010: .*No space left on device"):
        train_teacher(config, disk / "run", ALONE, onlooker)
    assert [path.name for path in saved(disk / "run")] == ["step-00000005"]
    assert len((disk / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    (disk / "filler").unlink()
    again = Onlooker()
    train_teacher(config, disk / "run", ALONE, again)
    assert again.steps == list(range(6, 16))
    train_teacher(full, tmp_path / "whole", ALONE, Onlooker())
    ours, theirs = ((folder / "teacher.safetensors") for folder in (disk / "run", tmp_path / "whole"))
    from safetensors.torch import load_file

    one, other = load_file(ours), load_file(theirs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_read_only_folder_is_one_line(disk, tleg, made):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    command = aux_command(made.teacher, disk / "run")
    for arguments in (
        command,
        ["expand", made.learngene, "--depth", 3, "--out", disk / "x"],
        ["prepare", "digits", disk / "x"],
    ):
        done = tleg(*arguments)
        assert done.code == 1
        assert "Read-only file system" in done.err
        assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in done.err


def test_a_beton(disk, tmp_path):
    """Several processes encode the images: all end, and nothing is left."""
    pytest.importorskip("ffcv")
    folder = write_folder(tmp_path / "photos", classes=3, train=80, val=2)
    done = in_its_own_process("prepare", folder, disk / "data", "--write-mode", "raw")
    assert done.code == 1, done.err
    lines = done.err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in done.err
    assert not (disk / "data").exists() or list((disk / "data").iterdir()) == []


@pytest.mark.slow
def test_two_ranks_stop_in_one_line(made, tmp_path):
    with mounted(tmp_path / "disk", 400) as disk:
        command = aux_command(made.teacher, disk / "run", "--gpus", 2, batch_size=128)
        fill(disk, leave=150_000)
        done = in_its_own_process(*command)
        assert done.code == 1
        assert "Traceback" not in done.err
        assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
        shutil.copytree(disk / "run", tmp_path / "run")
    again = in_its_own_process(*[str(word).replace(str(disk), str(tmp_path)) for word in command])
    assert again.code == 0, again.err
    whole = in_its_own_process(*[str(word).replace(str(disk), str(tmp_path / "whole")) for word in command])
    assert whole.code == 0, whole.err
    assert same_weights(tmp_path / "run", tmp_path / "whole" / "run")
