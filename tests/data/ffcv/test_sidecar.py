"""Sidecars: what they must say, that a pair belongs together, and that nothing they say is believed unchecked."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tleg_cli.data.ffcv.sidecar import read_pair, read_sidecar
from tleg_cli.errors import DataError


@pytest.fixture
def pair(betons: Path, tmp_path: Path) -> Path:
    return shutil.copytree(betons, tmp_path / "pair")


def change(folder: Path, split: str, **values: object) -> None:
    """Values of a sidecar; ... removes one."""
    file = folder / f"{split}.json"
    changed = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: value for name, value in changed.items() if value is not ...}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples", "12"), ("samples", True), ("samples", 24.0), ("samples", -1), ("samples", 0), ("samples", 10**30),
        ("samples", ...), ("classes", "abc"), ("classes", ["a", 1]), ("classes", {"a": 1}), ("classes", []),
        ("bytes", -5), ("bytes", None), ("bytes", 1 << 80), ("max_resolution", "40"), ("quality", [90]),
        ("write_mode", "png"), ("write_mode", 1), ("source", None), ("skipped", "x"), ("skipped", [None]),
        ("pair", 7), ("listing", ["x"]), ("exif_orientation", 1), ("compared", "all"), ("format_version", 1.0),
        ("format_version", "2"), ("format_version", 3), ("format_version", ...), ("unheard_of", 1),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_one_line(pair, name, value):
    change(pair, "train", **{name: value})
    with pytest.raises(DataError) as caught:
        read_sidecar(pair / "train.beton")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "train.json" in message
    assert "tleg prepare --force" in message


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '"x"', "{", "[" * 100_000, '{"samples": ' + "9" * 100_000 + "}", "\x00", "{}"],
    ids=["empty", "null", "list", "text", "half", "deep", "long-number", "zero", "nothing"],
)
def test_what_isn_t_a_sidecar_is_one_line(pair, text):
    (pair / "train.json").write_text(text)
    with pytest.raises(DataError, match=r"train\.json"):
        read_sidecar(pair / "train.beton")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("other", [to_fifo, to_zero, to_folder, to_loop])
@pytest.mark.parametrize("name", ["train.json", "train.beton"])
@pytest.mark.timeout(20)
def test_a_fifo_a_device_or_a_folder_is_refused_at_once(pair, name, other):
    other(pair / name)
    with pytest.raises(DataError) as caught:
        read_pair(pair)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(20)
def test_doctor_refuses_a_fifo_and_a_name_that_is_too_long(tmp_path):
    from tests.cli.conftest import in_its_own_process

    os.mkfifo(tmp_path / "x.beton")
    for name in (tmp_path / "x.beton", tmp_path / ("y" * 300 + ".beton")):
        done = in_its_own_process("doctor", name)
        assert done.code == 1
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1


def test_a_sidecar_of_version_1_is_still_read(pair):
    new = ("exif_orientation", "mode_reason", "compared", "listing", "times", "pair")
    for split in ("train", "val"):
        change(pair, split, format_version=1, **dict.fromkeys(new, ...))
    train, val = read_pair(pair)
    assert (train.samples, val.samples) == (24, 15)
    assert train.pair is None


def test_train_and_val_must_go_together(pair):
    change(pair, "val", max_resolution=12)
    with pytest.raises(DataError, match=r"train and val differ in max_resolution \(None and 12\)"):
        read_pair(pair)


@pytest.mark.parametrize("other", ["0123456789abcdef", None])
def test_halves_of_two_calls_are_not_a_pair(pair, other):
    change(pair, "val", pair=other)
    with pytest.raises(DataError, match="different calls of `tleg prepare`"):
        read_pair(pair)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["class-0", "class-1", "dog"], r"'class-2' only in train; 'dog' only in val"),
        (["class-1", "class-0", "class-2"], r"another order: class 0 is 'class-0' in train and 'class-1' in val"),
        (["class-0"], r"'class-1', 'class-2' only in train"),
        (["class-0", "class-1", "class-2", *"abcde"], r"'a', 'b', 'c' and 2 more only in val"),
    ],
)
def test_classes_that_differ_are_named(pair, classes, words):
    change(pair, "val", classes=classes)
    with pytest.raises(DataError, match=words):
        read_pair(pair)
