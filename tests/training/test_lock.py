"""A run folder is one process's own: links and foreign files stay as they are, and a folder that goes away is noticed."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tests.training.test_resume import same
from tleg_cli.errors import ConfigError, TlegError
from tleg_cli.training.identity import check_same, identity
from tleg_cli.training.lock import is_running, lock_folder, unlock_folder
from tleg_cli.training.train_aux import train_aux


def test_a_lock_that_is_a_link_keeps_what_it_leads_to(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(TlegError, match="is a symbolic link, not a file of tleg"):
        lock_folder(tmp_path / "run")
    assert not is_running(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("kind", ["fifo", "folder", "linked file"])
def test_a_lock_of_another_kind_neither_hangs_nor_is_emptied(tmp_path, kind):
    lock = tmp_path / ".lock"
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        (tmp_path / "precious").write_text("mine")
        os.link(tmp_path / "precious", lock)
    began = time.monotonic()
    if kind == "linked file":
        lock_folder(tmp_path)
        unlock_folder(tmp_path)
        assert (tmp_path / "precious").read_text() == "mine"
    else:
        with pytest.raises(TlegError):
            lock_folder(tmp_path)
    assert time.monotonic() - began < 5


def test_a_child_that_outlives_its_parent_does_not_keep_the_folder_locked(tmp_path):
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        lock_folder(tmp_path)
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        os.write(writer, str(child).encode())
        os._exit(0)
    orphan = int(os.read(reader, 20))
    os.waitpid(parent, 0)
    try:
        assert not is_running(tmp_path)
        lock_folder(tmp_path)
        unlock_folder(tmp_path)
    finally:
        os.kill(orphan, signal.SIGKILL)


def delete(run: Path) -> None:
    shutil.rmtree(run)


def replace(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))
    run.mkdir()


def replace_checkpoints(run: Path) -> None:
    (run / "checkpoints").rename(run / "other")
    (run / "checkpoints").mkdir()


def link_checkpoints(run: Path) -> None:
    (run / "checkpoints").rename(run / "other")
    (run.parent / "foreign").mkdir()
    (run / "checkpoints").symlink_to(run.parent / "foreign")


@pytest.mark.parametrize("happens", [delete, replace, replace_checkpoints, link_checkpoints])
def test_a_folder_that_goes_away_is_noticed_at_the_next_save_and_nothing_is_lost(
    tmp_path, teacher, happens: Callable[[Path], None]
):
    config, run = tiny_config("aux.epochs=2", teacher=teacher), tmp_path / "run"
    look = Onlooker(lambda step: happens(run) if step == STEPS + 2 else None)
    with pytest.raises(
        TlegError, match=r"was deleted or replaced.*Step 10 is saved in .*run-rescued: move that folder"
    ):
        train_aux(config, run, ALONE, look)
    assert not list((tmp_path / "foreign").glob("*"))
    shutil.rmtree(run, ignore_errors=True)
    (tmp_path / "run-rescued").rename(run)
    rest = Onlooker()
    train_aux(config, run, ALONE, rest)
    assert rest.steps == []
    train_aux(config, tmp_path / "straight", ALONE, Onlooker())
    assert same(run / "learngene.pt", tmp_path / "straight" / "learngene.pt")


def test_other_files_in_the_folder_stay(tmp_path, teacher):
    strange = [".mine.tmp", "checkpoints/.step-mine.tmp", "checkpoints/step-notes"]
    for name in strange:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoints" / ".step-00000001.tmp").mkdir()
    train_aux(tiny_config("aux.epochs=1", teacher=teacher), tmp_path, ALONE, Onlooker())
    assert all((tmp_path / name).read_text() == "mine" for name in strange)
    assert not (tmp_path / "checkpoints" / ".step-00000001.tmp").exists()


@pytest.mark.parametrize("spelling", ["data", "./data", "data/", "../{here}/data", "{absolute}", "link", "~/data"])
def test_another_spelling_of_the_path_is_the_same_data(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("data")
    spelled = spelling.format(here=tmp_path.name, absolute=tmp_path / "data")
    config = tiny_config(data="data")
    before = identity(config, config.aux, ALONE, ["a"], command="train-aux")
    before["data"]["path"] = "data"  # as runs recorded it that began before paths were resolved
    config = tiny_config(data=spelled)
    assert check_same(tmp_path, before, identity(config, config.aux, ALONE, ["a"], command="train-aux")) == []
    config = tiny_config(data="other")
    with pytest.raises(ConfigError, match=r"data\.path"):
        check_same(tmp_path, before, identity(config, config.aux, ALONE, ["a"], command="train-aux"))
