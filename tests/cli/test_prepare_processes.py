"""`tleg prepare` as people stop it and where containers run it: one line, nothing left, and the same command goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.conftest import write_folder
from tests.processes import alive, descendants, wait_until
from tleg_cli.data.ffcv.verify import verify_beton

FILES = {"train.beton", "train.json", "val.beton", "val.json"}
SLOW = ("synthetic/30000x64x10", "--write-mode", "jpg", "--workers", "2")


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def start(out: Path, err: Path, *, source: str = SLOW[0]) -> subprocess.Popen[str]:
    """In a process group of its own, so that a signal can be sent to all of it, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tleg_cli", "prepare", source, str(out), *SLOW[1:]],
        stdout=subprocess.DEVNULL, stderr=err.open("a"), text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def writing(out: Path, process: subprocess.Popen[str], split: str = "train") -> list[int]:
    """Waits until images are written. Returns the processes that read them."""

    def begun() -> bool:
        sizes = [file.stat().st_size for file in out.glob(f".{split}.beton.*.tmp")]
        return any(size > 100_000 for size in sizes) and len(descendants(process)) > 1

    assert wait_until(begun, process)
    return descendants(process)


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, True), (signal.SIGINT, False), (signal.SIGHUP, True)])
def test_a_signal_is_one_line_and_leaves_nothing(tmp_path, number, group):
    out, err = tmp_path / "out", tmp_path / "err"
    process = start(out, err)
    workers = writing(out, process)
    send = os.killpg if group else os.kill
    send(process.pid, number)
    send(process.pid, number)  # an impatient user must not interrupt the cleaning up
    assert process.wait(60) == 75
    assert err.read_text().splitlines() == [
        f"stopped by {signal.Signals(number).name}: nothing incomplete was kept; run the same command again to continue"
    ]
    assert files(out) == set()
    assert wait_until(lambda: not alive(workers), seconds=10)


@pytest.mark.slow
def test_a_call_stopped_in_the_second_file_goes_on_with_the_first_one_kept(tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    source = str(write_folder(tmp_path / "photos", classes=2, train=3, val=300))  # the second file takes a while
    process = start(out, err, source=source)
    assert wait_until(lambda: (out / "train.beton").exists(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    before = (out / "train.beton").stat().st_mtime_ns
    assert start(out, err, source=source).wait(200) == 0, err.read_text()
    assert (out / "train.beton").stat().st_mtime_ns == before
    assert files(out) == FILES


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_no_process_and_the_next_one_no_rest_of_it(tmp_path):
    """An interrupted ImageNet would be 40 GB of a hidden file."""
    out, err = tmp_path / "out", tmp_path / "err"
    process = start(out, err)
    workers = writing(out, process)
    process.kill()
    process.wait()
    assert wait_until(lambda: not alive(workers), seconds=10)
    assert files(out)
    assert start(out, err, source="synthetic/300x64x10").wait(200) == 0, err.read_text()
    assert files(out) == FILES
    for split in ("train", "val"):
        verify_beton(out / f"{split}.beton")


def in_a_container(setup: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command where `setup` has changed what is mounted, for this process only."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs root, who may mount")
    command = " ".join(map(str, [sys.executable, "-m", "tleg_cli", *arguments]))
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{setup} && {command}"], check=False, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("options", ["ro", pytest.param("size=64k", marks=pytest.mark.slow)])
def test_prepare_needs_no_shared_memory(tmp_path, options):
    """docker gives 64 MB, which the metadata of ImageNet-21k would fill; some clusters mount /dev/shm read-only."""
    setup = f"mount -t tmpfs -o {options} tmpfs /dev/shm"
    done = in_a_container(setup, "prepare", "synthetic/400x32x5", tmp_path / "out", "--workers", 3)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == FILES


def test_prepare_needs_no_temporary_folder(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    keep = f"mount --bind {out} /mnt"
    read_only = " && ".join(  # with what is in them: this checkout may be below /tmp
        f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
        for folder in ("/tmp", "/var/tmp", "/dev/shm")
    )
    done = in_a_container(f"cd / && {keep} && {read_only}", "prepare", "digits", "/mnt")
    assert done.returncode == 0, done.stderr
    assert files(out) == FILES


def test_a_name_that_is_too_long_is_one_line(tleg, tmp_path):
    for arguments in (("digits", tmp_path / ("x" * 300)), ("y" * 5000, tmp_path / "out")):
        done = tleg("prepare", *arguments)
        assert done.code == 1
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
