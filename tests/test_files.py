"""Files that are written: complete or not at all, with the mode of the umask, and without traces of killed calls."""

import os
import signal
import stat
import subprocess
import sys
import tempfile

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.errors import TlegError, first_line, printable
from tleg_cli.files import atomic_file, remove_leftovers, temporary_folder, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from tleg_cli.files import atomic_file, temporary_folder
with temporary_folder() as folder, atomic_file(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(folder, temporary, sep="\\n", flush=True)
    {then}
"""


def write_and(then, path):
    """A process that is in the middle of writing `path`, its temporary folder and its temporary file."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(then=then), str(path)], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip(), process.stdout.readline().strip()


def by_safetensors(path):
    save_file({"weight": torch.ones(2)}, path)


def by_torch(path):
    torch.save({"weight": torch.ones(2)}, path)


@pytest.mark.parametrize("write", [by_safetensors, by_torch, lambda path: path.write_text("x")])
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_result_has_the_mode_that_the_umask_gives(tmp_path, write, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_file(tmp_path / "result") as temporary:
            write(temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["result.pt", "a[1]*?.pt", "n" * 250, "ü" * 127])
def test_what_a_killed_call_left_is_removed_by_the_next_one_and_nothing_else(tmp_path, name):
    foreign = [".other.0123abcd.tmp", ".vim.swp.tmp", f".{name[:40]}.tmp", f".{name[:40]}.zzzzzzzz.tleg.tmp"]
    for other in foreign:
        (tmp_path / other).write_text("somebody else's")
    killed, folder, left = write_and("os.kill(os.getpid(), signal.SIGKILL)", tmp_path / name)
    assert killed.wait(60) == -signal.SIGKILL
    assert os.path.exists(left)
    assert os.path.isdir(folder)
    with temporary_folder():
        write_text(tmp_path / name, "complete")
        assert not os.path.exists(folder)
    assert {path.name for path in tmp_path.iterdir()} == {name, *foreign}
    assert (tmp_path / name).read_text() == "complete"


def test_what_a_living_call_is_writing_stays(tmp_path):
    living, folder, temporary = write_and("import time; time.sleep(60)", tmp_path / "result")
    try:
        remove_leftovers(tmp_path)
        with temporary_folder():
            write_text(tmp_path / "result", "mine")
        assert os.path.exists(temporary)
        assert os.path.isdir(folder)
    finally:
        living.kill()
        living.wait()


def test_a_link_to_somebody_elses_file_is_not_a_leftover(tmp_path):
    (tmp_path / "precious").write_text("x")
    link = tmp_path / ".result.0123abcd.tleg.tmp"
    link.symlink_to(tmp_path / "precious")
    write_text(tmp_path / "result", "x")
    assert link.is_symlink()
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path)])
def test_a_pipe_a_folder_and_a_device_are_not_replaced(tmp_path, make):
    make(tmp_path / "out")
    with pytest.raises(TlegError, match="it exists and is not a file; choose another name"):
        write_text(tmp_path / "out", "x")
    assert not (tmp_path / "out").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_a_temporary_folder_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    with pytest.raises(TlegError, match="no temporary folder can be written .*; set TMPDIR"), temporary_folder():
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Müller, 犬 and 🐕", "Müller, 犬 and 🐕"),
        ("red \x1b[31m", r"red \x1b[31m"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202egnp.exe", r"abc\u202egnp.exe"),
        ("lone \udcff", r"lone \udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (MemoryError(), "MemoryError"),
        (ValueError("\n\n  three"), "three"),
        (OSError("a\x1bb"), r"a\x1bb"),
    ],
)
def test_the_first_line_of_any_error(error, line):
    assert first_line(error) == line
