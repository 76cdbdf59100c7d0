"""Every reader of run folders, data files and images, fed with damaged ones."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from tests.data.conftest import picture, prepare, write_folder
from tests.fuzz.hostile import A_FEW_AND_MANY, MANY, Target, damaged, feed, plain, written
from tests.fuzz.mutate import as_json, mutated
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.ffcv.sidecar import read_sidecar
from tleg_cli.data.read_image import read_rgb
from tleg_cli.files import file_hash
from tleg_cli.inspect.verify_run import verify_run
from tleg_cli.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint


def checkpoint(folder: Path, gene: Any) -> Target:
    """The newest of two is damaged, or rewritten with hashes that fit: it is read, or the one before it is."""
    run = folder / "run"
    for step in (1, 2):
        tensors = {"model": {"w": torch.full((30,), float(step))}, "optimizer": {"0/exp_avg": torch.zeros(30)}}
        save_checkpoint(run, step, Checkpoint(tensors, {"step": step, "history": []}), best=None)
    newest = run / "step-00000002"
    original = {file.name: file.read_bytes() for file in newest.iterdir()}

    def check(change: tuple[str, bytes, bool]) -> None:
        name, data, sealed = change
        for file, whole in original.items():
            (newest / file).write_bytes(whole)
        (newest / name).write_bytes(data)
        if sealed:
            hashes = {file: file_hash(newest / file) for file in original if file != "manifest.json"}
            (newest / "manifest.json").write_text(json.dumps({"format_version": 1, "sha256": hashes}))
        found, passed_over = newest_checkpoint(run)
        assert found is not None
        assert type(found.state["step"]) is int
        assert passed_over or sealed or data == original[name] or found.state["step"] == 2

    files = st.sampled_from(sorted(original))
    content = lambda name: damaged(original[name]) | plain.map(lambda value: json.dumps(value).encode())  # noqa: E731
    return check, files.flatmap(lambda name: st.tuples(st.just(name), content(name), st.booleans()))


def run_folder(folder: Path, gene: Any) -> Target:
    """`tleg verify` on a run with one damaged file."""
    from tests.tiny import ALONE, Onlooker, tiny_config
    from tleg_cli.training.train_teacher import train_teacher

    run = folder / "teacher"
    if not run.exists():
        train_teacher(tiny_config(), run, ALONE, Onlooker())
    parts = ("config.yaml", "run.json", "metrics.jsonl", "summary.json", "teacher.safetensors")
    original = {name: (run / name).read_bytes() for name in parts}

    def check(change: tuple[str, bytes]) -> None:
        name, data = change
        (run / name).write_bytes(data)
        try:
            verify_run(run)
        finally:
            (run / name).write_bytes(original[name])

    changed = lambda name: damaged(original[name]) | plain.map(lambda value: json.dumps(value).encode())  # noqa: E731
    return check, st.sampled_from(parts).flatmap(lambda name: st.tuples(st.just(name), changed(name)))


def beton(folder: Path, gene: Any) -> Target:
    pytest.importorskip("ffcv")
    data = folder / "betons"
    if not data.exists():
        prepare(write_folder(folder / "photos", classes=2, train=3, val=2), data, write_mode="jpg", max_resolution=120)
    whole = (data / "val.beton").read_bytes()
    return lambda data: read_beton(written(folder / "x.beton", data)), damaged(whole)


def sidecar(folder: Path, gene: Any) -> Target:
    values = {
        "format_version": 2, "samples": 4, "classes": ["a", "b"], "max_resolution": None, "write_mode": "jpg",
        "quality": 90, "bytes": 3, "source": "x", "skipped": [], "exif_orientation": True, "mode_reason": "x",
        "compared": 4, "listing": "x", "times": "x", "pair": "x",
    }  # fmt: skip
    written(folder / "z.beton", b"abc")

    def check(text: bytes) -> None:
        written(folder / "z.json", text)
        read_sidecar(folder / "z.beton")

    return check, damaged(json.dumps(values).encode()) | mutated(values).map(as_json)


def image(folder: Path, gene: Any) -> Target:
    kinds = {}
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        out = io.BytesIO()
        picture(7, 40, 30).save(out, kind)
        kinds[kind] = out.getvalue()

    def check(data: bytes) -> None:
        assert read_rgb(io.BytesIO(data), "x").mode == "RGB"

    return check, st.sampled_from(sorted(kinds)).flatmap(lambda kind: damaged(kinds[kind]))


TARGETS: dict[str, Callable[[Path, Any], Target]] = {
    maker.__name__: maker for maker in (checkpoint, run_folder, beton, sidecar, image)
}


@A_FEW_AND_MANY
@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_damaged_files(target, examples):
    feed(*target, examples)


@pytest.mark.slow
def test_many_damaged_betons_are_decoded_or_refused(folder):
    """With FFCV's own decoder, on files whose size is what their sidecar says."""
    pytest.importorskip("ffcv")
    from tleg_cli.data.ffcv.verify import verify_beton

    data = folder / "decoded"
    if not data.exists():
        prepare(
            write_folder(folder / "photos-2", classes=2, train=3, val=2), data, write_mode="jpg", max_resolution=120
        )
    whole = (data / "val.beton").read_bytes()
    shutil.copy(data / "val.json", folder / "w.json")

    def check(change: bytes) -> None:
        written(folder / "w.beton", (change + whole[len(change) :])[: len(whole)])
        verify_beton(folder / "w.beton")

    feed(check, damaged(whole), min(MANY, 1000))
