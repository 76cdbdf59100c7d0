"""Loader workers in a container of 64 MB shared memory or none, and workers that are killed: one line or the same batches, never a hang."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.data.conftest import write_folder
from tests.processes import alive
from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.config import DataSection
from tleg_cli.data import loader_workers
from tleg_cli.data.batches import Loader
from tleg_cli.data.open import open_eval_loader
from tleg_cli.errors import DataError
from tleg_cli.training.train_teacher import train_teacher


def loader_of(photos: Path, workers: int = 2, size: int = 28, batch_size: int = 2) -> Loader:
    section = DataSection(path=str(photos), image_size=size, workers=workers)
    return open_eval_loader(section, batch_size=batch_size, rank=0, world=1, split="train")


def batches(loader: Loader) -> list[tuple[torch.Tensor, torch.Tensor]]:
    try:
        return [(images.clone(), labels.clone()) for images, labels in loader.epoch(0)]
    finally:
        loader.close()


def workers_of(loader: Loader) -> list[int]:
    return [worker.pid for worker in loader._running]  # type: ignore[attr-defined]


@pytest.mark.parametrize("free", [0, 64 << 20, 1 << 40])
def test_batches_are_the_same_whatever_way_they_take(photos, monkeypatch, free):
    monkeypatch.setattr(loader_workers, "_free_bytes", lambda: free)
    alone, sent = (batches(loader_of(photos, workers=workers)) for workers in (0, 2))
    assert len(alone) == len(sent) == 12
    for (ours, labels), (theirs, others) in zip(alone, sent, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()
        assert torch.equal(labels, others)


MOUNT = "mount -t tmpfs -o size={} tmpfs /dev/shm"
CASES = [  # what makes /dev/shm, pixels, bytes that somebody else writes after the loader has looked, and the warning
    (
        MOUNT.format("1m"),
        224,
        0,
        "/dev/shm has 1 MB free, and 2 loader workers need up to 7 MB; batches go through pipes",
    ),
    (MOUNT.format("40m"), 224, 39_900_000, None),
    (MOUNT.format("4k") + " && head -c 4096 /dev/zero > /dev/shm/full", 64, 0, "(/dev/shm: No space left"),
    (MOUNT.format("1m") + " && mount -o remount,ro /dev/shm", 64, 0, "(/dev/shm: Read-only file system)"),
]
IN_A_CONTAINER = """
import subprocess, sys
from pathlib import Path
from tests.data.test_loader_workers import CASES, loader_of
for mount, size, filler, _ in CASES:
    subprocess.run(mount, shell=True, check=True)
    loader = loader_of(Path(sys.argv[1]), size=size, batch_size=8)
    if filler:
        Path("/dev/shm/filler").write_bytes(bytes(filler))
    print(sum(int(images.sum()) for images, _ in loader.epoch(0)))
    loader.close()
"""


def test_a_small_or_unusable_shared_memory(photos):
    """64 MB in docker, filled by others, full, read-only: the same batches in each, with one line that says what to do."""
    command = ["unshare", "-m", sys.executable, "-c", IN_A_CONTAINER, str(photos)]
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs root, who may mount another /dev/shm")
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    expected = {
        size: sum(int(images.sum()) for images, _ in batches(loader_of(photos, workers=0, size=size, batch_size=8)))
        for size in (64, 224)
    }
    assert [int(line) for line in done.stdout.splitlines()] == [expected[size] for _, size, _, _ in CASES]
    warnings = [words for _, _, _, words in CASES if words]
    for line, words in zip(done.stderr.splitlines(), warnings, strict=True):
        assert line.startswith("warning: ")
        assert words in line


@pytest.mark.parametrize("through", ["shared memory", "pipes"])
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, r"a loader worker was killed \(SIGKILL\), most likely by the system because memory ran out; lower data.workers"),
        (signal.SIGBUS, r"was killed \(SIGBUS\), most likely because /dev/shm is full"),
        (signal.SIGSEGV, r"died \(SIGSEGV\)"),
    ],
    ids=["oom", "bus", "segv"],
)  # fmt: skip
def test_a_worker_that_dies_is_one_line_at_once(photos, monkeypatch, number, words, through):
    monkeypatch.setattr(loader_workers, "_free_bytes", lambda: 0 if through == "pipes" else 1 << 40)
    loader = loader_of(photos, size=1024, batch_size=1)
    epoch = loader.epoch(0)
    next(epoch)
    pids = workers_of(loader)
    os.kill(pids[0], number)
    began = time.monotonic()
    with pytest.raises(DataError, match=words):
        list(epoch)
    loader.close()
    assert time.monotonic() - began < 4
    assert wait_for_none(pids)


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError()], ids=["end", "reset"])
@pytest.mark.parametrize("dies", [True, False])
def test_a_connection_that_ends_before_its_worker_has_is_the_workers_death(error, dies):
    """Linux closes a process's files first: reading a batch fails before there is an exit code."""
    worker = multiprocessing.Process(target=time.sleep, args=(60,))
    worker.start()
    caught = []

    def wait_for_a_batch():
        try:
            with loader_workers.watched([worker]):
                if dies:
                    threading.Timer(0.3, worker.kill).start()
                raise error
        except Exception as found:
            caught.append(found)

    thread = threading.Thread(target=wait_for_a_batch)  # in which no handler of SIGCHLD is faster
    thread.start()
    thread.join()
    worker.kill()
    worker.join()
    if dies:
        assert isinstance(caught[0], DataError)
        assert "SIGKILL" in str(caught[0])
    else:
        assert caught == [error]  # another fault, which must not pass for a worker's


def test_a_worker_that_dies_during_a_step_raises_at_the_next_batch_not_in_the_step(photos):
    loader = loader_of(photos, batch_size=1)
    epoch = loader.epoch(0)
    next(epoch)
    os.kill(workers_of(loader)[1], signal.SIGKILL)
    time.sleep(0.3)  # the step; torch's own handler would raise here
    with pytest.raises(DataError, match="SIGKILL"):
        next(epoch)
    loader.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_the_process_group_takes_no_worker(photos, number):
    loader = loader_of(photos, batch_size=1)
    epoch = loader.epoch(0)
    next(epoch)
    for pid in workers_of(loader):
        os.kill(pid, number)
    assert len(list(epoch)) == 23
    pids = workers_of(loader)
    loader.close()
    assert wait_for_none(pids)


def wait_for_none(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(pids):
        time.sleep(0.01)
    return not alive(pids)


def test_workers_die_with_a_killed_main_process(photos):
    """An orphan would keep the lock of the run folder."""
    reading, writing = os.pipe()
    main = os.fork()
    if main == 0:
        loader = loader_of(photos)
        epoch = loader.epoch(0)
        next(epoch)
        os.write(writing, " ".join(map(str, workers_of(loader))).encode())
        time.sleep(100)
        os._exit(0)
    pids = [int(word) for word in os.read(reading, 100).split()]
    assert len(alive(pids)) == 2
    os.kill(main, signal.SIGKILL)
    os.waitpid(main, 0)
    deadline = time.monotonic() + 2  # torch's own watchdog takes five seconds
    while time.monotonic() < deadline and alive(pids):
        time.sleep(0.01)
    assert not alive(pids)
    os.close(reading)
    os.close(writing)


def test_a_loader_works_in_another_thread(photos):
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(batches(loader_of(photos)))))
    thread.start()
    thread.join(60)
    assert found == [12]


def test_a_damaged_image_reaches_the_caller_through_pipes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(loader_workers, "_free_bytes", lambda: 0)
    copy = shutil.copytree(photos, tmp_path / "photos")
    (copy / "train" / "class-1" / "002.jpg").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"002\.jpg is not an image"):
        batches(loader_of(copy))


def test_a_run_that_lost_a_worker_goes_on_to_the_same_weights(tmp_path):
    """What the system does when memory runs out: one line, and the same command again."""
    data = str(write_folder(tmp_path / "data", train=12, val=3))
    config = tiny_config("teacher.recipe.epochs=3", "teacher.recipe.batch_size=12", "data.workers=2", data=data)

    def kill_a_worker(step: int) -> None:
        if step == 5:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
            time.sleep(0.2)

    with pytest.raises(DataError, match=r"a loader worker was killed \(SIGKILL\)"):
        train_teacher(config, tmp_path / "run", ALONE, Onlooker(kill_a_worker))
    again = Onlooker()
    train_teacher(config, tmp_path / "run", ALONE, again)
    assert again.steps[0] > 1
    train_teacher(config, tmp_path / "alone", ALONE, Onlooker())
    one, other = (load_file(tmp_path / run / "teacher.safetensors") for run in ("run", "alone"))
    assert all(torch.equal(one[name], other[name]) for name in one)
