"""Every reader of files, fed with damaged and hostile ones."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from tests.data.conftest import picture, prepare, write_folder
from tests.fuzz.hostile import A_FEW, MANY, damaged, feed, plain, safetensors_files, torch_files
from tests.learngene.test_reference import reference_weights, save
from tleg_cli import plugin_manager
from tleg_cli.atomic import file_hash
from tleg_cli.data.beton_file import read_beton
from tleg_cli.data.sidecar import read_sidecar
from tleg_cli.data.sources import read_rgb
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.header import read_header
from tleg_cli.learngene.reference import read_reference
from tleg_cli.learngene.weights_file import open_weights
from tleg_cli.models.descendant import descendant_card, expanded_model
from tleg_cli.models.model_file import load_card, load_strictly, read_card, read_weights, write_model
from tleg_cli.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from tleg_cli.training.verify import verify_run

Target = tuple[Callable[[Any], object], "st.SearchStrategy[Any]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def gene(folder: Path):
    """A learngene of random numbers, small enough to be damaged thousands of times."""
    from tests.tiny import tiny_config
    from tleg_cli.learngene.gene import Metadata
    from tleg_cli.models.aux_net import new_aux_net

    config = tiny_config()
    data = config.data
    metadata = Metadata("vit", config.backbone.options, (3,), 10, data.image_size, data.mean, data.std, data.crop_pct)
    net = new_aux_net(plugin_manager.get_backbone("vit"), plugin_manager.get_basis("linear"), metadata)
    return replace(net.learngene(), metadata=metadata)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read_all(path: Path) -> None:
    """Whatever tleg may do with a file of weights; each refusal is its own."""
    from tleg_cli.errors import TlegError

    def model() -> None:
        card = read_card(path)
        weights = read_weights(path)
        if card is not None:
            load_strictly(load_card(card), weights, str(path))

    def tensors() -> None:
        with open_weights(path) as (header, get):
            for name in header.tensors:
                get(name)

    refused = []
    for reader in (lambda: read_learngene(path, plugin_manager.bases()), lambda: read_header(path), tensors, model):
        try:
            reader()
        except TlegError as error:
            refused.append(error)
            assert "Traceback" not in str(error)


@pytest.fixture
def target(request: pytest.FixtureRequest, folder: Path, gene: Any) -> Target:
    return TARGETS[request.param](folder, gene)


def torch_learngene(folder: Path, gene: Any) -> Target:
    write_learngene(gene, folder / "whole.pt")
    return lambda data: read_all(written(folder / "x.pt", data)), torch_files((folder / "whole.pt").read_bytes())


def safe_learngene(folder: Path, gene: Any) -> Target:
    write_learngene(gene, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    return lambda data: read_all(written(folder / "x.safetensors", data)), damaged(whole)


def safe_header(folder: Path, gene: Any) -> Target:
    write_learngene(gene, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    inputs = safetensors_files(header["__metadata__"]["tleg"])
    return lambda data: read_all(written(folder / "x.safetensors", data)), inputs


def forged_metadata(folder: Path, gene: Any) -> Target:
    """A sound file whose header says something else in one place."""
    write_learngene(gene, folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])

    def check(change: tuple[str, str, Any]) -> None:
        where, key, value = change
        said = json.loads(header["__metadata__"]["tleg"])
        (said["metadata"] if where == "metadata" else said)[key] = value
        text = json.dumps({**header, "__metadata__": {"tleg": json.dumps(said)}}).encode()
        data = len(text).to_bytes(8, "little") + text + whole[8 + size :]
        read_all(written(folder / "x.safetensors", data))

    keys = st.sampled_from(["format", "format_version", "basis", "stages", "metadata", "backbone", "options", "depth"])
    more = st.sampled_from(["classes", "image_size", "mean", "std", "crop_pct", "provenance", "else"])
    return check, st.tuples(st.sampled_from(["top", "metadata"]), keys | more, plain)


def reference(folder: Path, gene: Any) -> Target:
    """Checkpoints of the reference code, whose options are a Namespace: more is let in than elsewhere."""
    whole = save(folder / "whole.pth", reference_weights(16, patch=4, classes=3)).read_bytes()
    return lambda data: read_reference(written(folder / "x.pth", data), "vit", heads=2), torch_files(whole)


def descendant(folder: Path, gene: Any) -> Target:
    model = expanded_model(gene, (2,), 10)
    write_model(folder / "model.safetensors", model.state_dict(), descendant_card(gene, (2,), 10, 0.9, training={}))
    whole = (folder / "model.safetensors").read_bytes()
    return lambda data: read_all(written(folder / "y.safetensors", data)), damaged(whole)


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
    from tleg_cli.training.stages import train_teacher

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
        "format_version": 1, "samples": 4, "classes": ["a", "b"], "max_resolution": None, "write_mode": "jpg",
        "quality": 90, "bytes": 3, "source": "x", "skipped": [],
    }  # fmt: skip
    written(folder / "z.beton", b"abc")

    def check(text: bytes) -> None:
        written(folder / "z.json", text)
        read_sidecar(folder / "z.beton")

    whole = json.dumps(values).encode()
    one_wrong = st.tuples(st.sampled_from(sorted(values)), plain).map(lambda pair: {**values, pair[0]: pair[1]})
    return check, damaged(whole) | (one_wrong | plain).map(lambda value: json.dumps(value).encode())


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
    maker.__name__: maker
    for maker in (
        torch_learngene, safe_learngene, safe_header, forged_metadata, reference, descendant, checkpoint, run_folder, beton,
        sidecar, image,
    )
}  # fmt: skip


@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_a_few_hostile_files(target):
    feed(*target, A_FEW)


@pytest.mark.slow
@pytest.mark.timeout(100_000 if MANY > 1000 else 300)
@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_many_hostile_files(target):
    feed(*target, MANY)


@pytest.mark.slow
def test_many_damaged_betons_are_decoded_or_refused(folder):
    """With FFCV's own decoder, on files whose size is what their sidecar says."""
    pytest.importorskip("ffcv")
    from tleg_cli.data.beton_verify import verify_beton

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
