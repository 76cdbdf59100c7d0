"""Whatever is wrong, the answer is one line that names it, exit code 1 (2 for usage), and nothing half written."""

import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.data.conftest import write_folder
from tests.tiny import as_options


class Code:
    def __reduce__(self) -> object:
        return os.system, ("touch /tmp/tleg-was-run",)


def refused(done, *words, code=1):
    assert done.code == code, done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], lines[0]
    assert done.out == ""


@pytest.fixture
def bad_files(tmp_path, made):
    folder = tmp_path / "bad"
    folder.mkdir()
    whole = made.learngene.read_bytes()
    (folder / "text.pt").write_text("hello")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "code.pt").write_bytes(pickle.dumps(Code()))
    torch.save({"weights": torch.zeros(3)}, folder / "other.pt")
    torch.save({"model": Code()}, folder / "torch-code.pt")
    (folder / "lie.safetensors").write_bytes((2**50).to_bytes(8, "little") + b"{}")
    return folder


@pytest.mark.parametrize(
    "name", ["missing.pt", "text.pt", "empty.pt", "cut.pt", "code.pt", "other.pt", "torch-code.pt", "lie.safetensors"]
)
@pytest.mark.parametrize("command", ["expand", "train-des", "evaluate"])
def test_a_file_that_is_no_learngene(tleg, bad_files, tmp_path, name, command):
    options = {
        "expand": ("expand", bad_files / name, "--depth", 3, "--out", tmp_path / "out"),
        "train-des": (
            "train-des", "--preset", "digits", "--data", "digits", "--device", "cpu", "--depth", 3,
            "--learngene", bad_files / name, "--out", tmp_path / "out",
        ),
        "evaluate": ("evaluate", bad_files / name, "--data", "digits", "--device", "cpu"),
    }  # fmt: skip
    refused(tleg(*options[command]), name)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not os.path.exists("/tmp/tleg-was-run")


@pytest.mark.parametrize("depth", ["0", "-1", "abc", "1000000", "12-3", "3,,6", "", "2:2"])
def test_depths_that_cant_be(tleg, made, tmp_path, depth):
    done = tleg("expand", made.learngene, f"--depth={depth}", "--out", tmp_path / "out")
    refused(done)
    assert repr(depth) in done.err or depth in done.err
    assert not (tmp_path / "out").exists()


def test_names_that_are_nearly_right(tleg, made, tmp_path):
    refused(tleg("presets", "digit"), "'digits'")
    refused(tleg("train-aux", "--preset", "digit", "--out", tmp_path), "'digits'")
    start = ("train-aux", "--preset", "digits", "--data", "digits", "--device", "cpu", "--out", tmp_path / "out")
    refused(tleg(*start, "--set", "aux.epoch=3"), "aux.epoch", "'epochs'")
    refused(tleg(*start, "--set", "backbone.name=deit_tiny_patch16_22"), "'deit_tiny_patch16_224'")
    refused(tleg(*start, "--set", "aux.optimizer=adamv", "--teacher", made.teacher), "'adamv'", "'adam'")
    assert not (tmp_path / "out" / "run.json").exists()


def test_all_wrong_values_are_told_at_once(tleg, tmp_path):
    options = ("aux.epochs=many", "aux.lr=-1", "data.image_size=0", "seed=1.5")
    done = tleg(
        "train-aux", "--preset", "digits", *[word for one in options for word in ("--set", one)], "--out", tmp_path
    )
    refused(done, "aux.epochs", "aux.lr", "data.image_size", "seed")


def test_usage_errors_end_with_2(tleg):
    assert tleg("expand").code == 2
    assert tleg("nonsense").code == 2
    assert tleg("train-aux", "--preset", "digits", "--gpus", "0").code == 2
    assert tleg("expand", "--nonsense").code == 2


def test_data_that_cant_be_used(tleg, made, tmp_path):
    start = ("train-aux", "--preset", "digits", "--device", "cpu", "--teacher", made.teacher, *as_options())
    (tmp_path / "empty").mkdir()
    refused(tleg(*start, "--data", tmp_path / "empty", "--out", tmp_path / "a"), "has no train/ and val/")
    refused(tleg(*start, "--data", tmp_path / "none", "--out", tmp_path / "b"), "no folder")
    folder = write_folder(tmp_path / "photos", classes=10, train=30, val=2)
    for place in [*folder.glob("*/class-*")]:
        place.rename(place.with_name(place.name.removeprefix("class-")))  # as the teacher's are called
    (folder / "train" / "0" / "000.jpg").write_text("hello")
    done = tleg(*start, "--data", folder, "--out", tmp_path / "c")
    assert done.code == 1
    assert "error: " in done.err.splitlines()[-1]
    assert "000.jpg is not an image" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    (folder / "train.beton").write_text("hello")
    refused(tleg(*start, "--data", folder, "--out", tmp_path / "d"), "train.json")


def test_a_beton_that_is_none(tleg, tmp_path):
    (tmp_path / "x.beton").write_text("hello")
    refused(tleg("doctor", tmp_path / "x.beton"), "x.json")
    refused(tleg("doctor", tmp_path / "none.beton"), "none.beton")


def test_other_classes_get_a_fresh_head_and_it_is_said(tleg, made, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=3, train=90, val=2)
    done = tleg(
        "train-des", "--preset", "digits", "--device", "cpu", "--data", folder, "--learngene", made.learngene,
        "--depth", 2, "--out", tmp_path / "des", *as_options("descendant.epochs=1"), "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "head" in done.err
    assert "3 classes" in done.err
    refused(tleg("evaluate", made.learngene, "--data", folder, "--device", "cpu"), "10 classes", "has 3")


def test_another_image_size_resamples_the_position_embedding_and_it_is_said(tleg, made, tmp_path):
    options = as_options("descendant.epochs=1")
    done = tleg(
        "train-des", "--preset", "digits", "--device", "cpu", "--data", "digits", "--learngene", made.learngene,
        "--depth", 2, "--out", tmp_path / "des", *options, "--set", "data.image_size=12",
        "--set", "backbone.options={img_size: 12, patch_size: 2, embed_dim: 16, num_heads: 2}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "position embedding" in done.err


def test_a_teacher_of_other_classes_is_refused(tleg, made, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=3, train=90, val=2)
    done = tleg(
        "train-aux", "--preset", "digits", "--device", "cpu", "--data", folder, "--teacher", made.teacher,
        *as_options(), "--out", tmp_path / "out",
    )  # fmt: skip
    refused(done, "10 classes", "3")


def test_nothing_is_overwritten_without_force(tleg, made, tmp_path):
    assert tleg("expand", made.learngene, "--depth", 2, "--out", tmp_path).code == 0
    (grown,) = tmp_path.glob("*.safetensors")
    before = load_file(grown)
    assert tleg("expand", made.learngene, "--depth", "2,3", "--out", tmp_path).code == 0  # as after a kill
    assert all(torch.equal(value, before[name]) for name, value in load_file(grown).items())
    for other in (b"hello", (grown.parent / grown.name.replace("02", "03")).read_bytes()):
        grown.write_bytes(other)
        refused(tleg("expand", made.learngene, "--depth", "4,2", "--out", tmp_path), "--force")
        assert grown.read_bytes() == other
        assert len(list(tmp_path.iterdir())) == 2
    assert tleg("expand", made.learngene, "--depth", 2, "--out", tmp_path, "--force").code == 0


def test_a_folder_may_have_a_dot_in_its_name(tleg, made, tmp_path):
    assert tleg("expand", made.learngene, "--depth", 2, "--out", tmp_path / "v1.5").code == 0
    assert len(list((tmp_path / "v1.5").iterdir())) == 1
    refused(tleg("expand", made.learngene, "--depth", 2, "--out", tmp_path / "x.pth"), ".safetensors")


def test_an_unwritable_place_is_one_line(tleg, made):
    refused(tleg("expand", made.learngene, "--depth", 2, "--out", "/proc/nowhere/x"), "/proc/nowhere")
    refused(tleg("prepare", "digits", "/proc/nowhere"), "/proc/nowhere")


def test_prepare_lists_every_bad_image(tleg, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=2, train=3, val=2)
    (folder / "train" / "class-0" / "001.jpg").write_text("hello")
    truncated = folder / "val" / "class-1" / "001.jpg"
    truncated.write_bytes(truncated.read_bytes()[:500])
    refused(tleg("prepare", folder, tmp_path / "out"), "1 of 6 images", "class-0/001.jpg", "--skip-bad")
    done = tleg("prepare", folder, tmp_path / "out", "--skip-bad")
    assert done.code == 0
    assert "class-0/001.jpg" in done.err
    assert "class-1/001.jpg" in done.err
    shutil.rmtree(tmp_path / "out")
