"""stdout and stderr that are full, closed or without a reader, as real shells make them."""

import subprocess
import sys

import pytest

from tests.tiny import as_options

TLEG = f"{sys.executable} -m tleg_cli"
TRAIN = "train-teacher --preset digits --data digits --device cpu"


def shell(line):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("command", ["inspect {file}", "presets", "--version"])
@pytest.mark.parametrize(
    ("redirected", "code", "err"),
    [
        (">/dev/full", 1, "error: can't write to stdout: No space left on device\n"),
        (">&-", 0, ""),
    ],
)
def test_stdout_is_full_or_closed(made, command, redirected, code, err):
    done = shell(f"{TLEG} {command.format(file=made.learngene)} {redirected}")
    assert (done.returncode, done.stderr) == (code, err)


def test_a_reader_that_has_enough_ends_it_quietly(made):
    done = shell(f"{TLEG} inspect --json {made.learngene} | head -c 1; echo ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.stdout[0] == "{"
    assert done.stdout[1:].strip() in ("0", "141")
    done = shell(f"{TLEG} inspect {made.learngene} | (exec <&-; sleep 20); echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize("redirected", ["2>/dev/full", "<&- >&- 2>&-", "2> >(exec <&-; sleep 5)"])
def test_a_training_goes_on_without_its_streams(tmp_path, redirected):
    """With closed ones, no file of the run may become stderr."""
    options = " ".join(f"'{word}'" for word in as_options("teacher.recipe.epochs=2"))
    done = shell(f"{TLEG} {TRAIN} {options} --out {tmp_path}/run {redirected}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "run" / "summary.json").exists()
    for file in (tmp_path / "run").rglob("*.json*"):
        assert "images/s" not in file.read_text()


@pytest.mark.slow
def test_two_ranks_go_on_when_the_reader_of_both_streams_leaves(tmp_path):
    options = " ".join(f"'{word}'" for word in as_options("teacher.recipe.epochs=3"))
    done = shell(f"{TLEG} {TRAIN} {options} --gpus 2 --out {tmp_path}/run 2>&1 | head -1; echo ${{PIPESTATUS[0]}}")
    assert (tmp_path / "run" / "summary.json").exists()
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert done.stderr == ""


def test_a_name_with_control_characters_is_shown_as_text(tmp_path):
    file = tmp_path / "a\x1b]0;x\x07\nb.pt"
    file.write_bytes(b"junk")
    done = subprocess.run([sys.executable, "-m", "tleg_cli", "expand", str(file), "--depth", "3"], capture_output=True)
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr
    assert b"\\x1b]0;x\\x07\\nb.pt" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_letters_that_the_terminal_does_not_know_are_shown_as_escapes(tmp_path):
    file = tmp_path / "犬.pt"
    file.write_bytes(b"junk")
    done = subprocess.run(
        [sys.executable, "-m", "tleg_cli", "inspect", str(file)],
        capture_output=True,
        env={"PYTHONIOENCODING": "latin-1", "PATH": "/usr/bin:/bin"},
    )
    assert b"Traceback" not in done.stderr
    assert b"\\u72ac.pt" in done.stderr + done.stdout
