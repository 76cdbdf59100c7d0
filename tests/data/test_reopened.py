"""Sources that keep a file open: each process that reads images must have its own, or images come out in each other's place."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import prepare
from tleg_cli import plugin_manager
from tleg_cli.config import DataSection
from tleg_cli.data.ffcv.codec import decode
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.open import open_eval_loader
from tleg_cli.hookspecs import Source

IMAGES, SIDE = 600, 12


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


class OneFile:
    """Reads with seek and read, in small pieces, as tarfile, h5py and zipfile do."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        self.length = os.path.getsize(path) // SIDE**2 // 3
        self[0]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        self.file.seek(index * SIDE**2 * 3)
        data = b"".join(self.file.read(SIDE * 3) for _ in range(SIDE))
        return Image.fromarray(np.frombuffer(data.ljust(SIDE**2 * 3), np.uint8).reshape(SIDE, SIDE, 3)), index % 3


@dataclass
class Database:
    """sqlite: a connection must not be used in a forked process."""

    path: Path

    def __post_init__(self) -> None:
        self.process, self.connection = os.getpid(), sqlite3.connect(self.path)

    def __len__(self) -> int:
        return int(self.connection.execute("select count(*) from images").fetchone()[0])

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        assert os.getpid() == self.process
        data = self.connection.execute("select pixels from images where id = ?", (index,)).fetchone()[0]
        return Image.fromarray(np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, 3)), index % 3


@pytest.fixture(params=["one-file", "database"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    raw, base = tmp_path / "raw", tmp_path / "base"
    raw.write_bytes(b"".join(pixels(number).tobytes() for number in range(IMAGES)))
    with sqlite3.connect(base) as connection:
        connection.execute("create table images (id integer primary key, pixels blob)")
        rows = [(number, pixels(number).tobytes()) for number in range(IMAGES)]
        connection.executemany("insert into images values (?, ?)", rows)
    openers = {"one-file": lambda: OneFile(raw), "database": lambda: Database(base)}

    def mine(rest: str) -> Source:
        return Source("mine", ("a", "b", "c"), openers[rest], openers[rest])

    monkeypatch.setattr(plugin_manager, "sources", lambda: {"mine": mine})
    return f"mine/{request.param}"


def test_the_processes_of_prepare(source, tmp_path):
    out = prepare(source, tmp_path / "out", write_mode="raw", workers=4)
    beton = read_beton(out / "train.beton")
    file = np.memmap(beton.path, np.uint8, mode="r")
    wrong = [number for number in range(IMAGES) if not np.array_equal(decode(beton, file, number), pixels(number))]
    assert not wrong
    assert beton.labels.tolist() == [number % 3 for number in range(IMAGES)]


def test_the_workers_of_the_folder_loader(source):
    section = DataSection(path=source, image_size=SIDE, crop_pct=1.0, workers=2)
    loader = open_eval_loader(section, batch_size=5, rank=0, world=1)
    images = torch.cat([images for images, _ in loader.epoch(0)])
    loader.close()
    expected = torch.from_numpy(np.stack([pixels(number) for number in range(IMAGES)])).permute(0, 3, 1, 2)
    assert torch.equal(images, expected)
