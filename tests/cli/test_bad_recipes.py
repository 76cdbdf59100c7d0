"""What issue 3 calls bad input, by command line: one line that names it, exit code 1."""

import pytest

from tests.data.conftest import write_folder
from tests.tiny import as_options

COMMON = ("--preset", "digits", "--device", "cpu")


def refused(done, *words, out=None):
    assert done.code == 1, done.err
    assert out is None or not out.exists()
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc", "rand-m9-x3", "randm9", "original-mstd0.5", "rand-m9-m9"])
def test_a_policy_string_that_is_none(tleg, made, tmp_path, policy):
    settings = as_options(f"augmentation.auto_augment={policy}")
    options = ("--data", "digits", "--teacher", made.teacher, *settings, "--out", tmp_path / "out")
    refused(tleg("train-aux", *COMMON, *options), policy, out=tmp_path / "out")


def test_fewer_images_than_one_global_batch(tleg, made, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=10, train=1, val=1)
    for place in folder.glob("*/class-*"):
        place.rename(place.with_name(place.name.removeprefix("class-")))  # the teacher's classes are the digits
    options = ("--data", folder, "--teacher", made.teacher, *as_options("aux.batch_size=64"), "--out", tmp_path / "out")
    refused(tleg("train-aux", *COMMON, *options), "10 training images", "64", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (("train-aux", "--lr", "1e-3"), "--set aux.lr=1e-3"),
        (("train-aux", "--depth=3-6"), "--set aux.depth=3-6"),
        (("train-des", "--batch-size=64"), "--set descendant.batch_size=64"),
        (("train-teacher", "--epochs", "--json"), "--set teacher.recipe.epochs=VALUE"),
        (("adopt", "mine.safetensors", "--learning-rate", "$(id)"), "--set 'aux.lr=$(id)'"),
        (("bench", "--batch-size", "8"), "--set aux.batch_size=8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_recipe_value_as_an_option_names_the_setting(tleg, command, advice):
    preset = () if command[0] == "adopt" else ("--preset", "digits")
    done = tleg(*command, *preset)
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith(f"It is a value of the config; write {advice}")
    assert done.out == ""


def test_other_unknown_options_and_those_of_torchrun_are_left_to_others(tleg):
    done = tleg("train-aux", "--preset", "digits", "--presett", "x")
    assert (done.code, "write --set" in done.err) == (2, False)
    done = tleg("train-aux", "--preset", "none-such", "--", "--lr", "1")
    assert (done.code, "preset 'none-such' is unknown" in done.err) == (1, True)


def test_a_refused_command_put_right_begins_in_the_same_folder(tleg, made, tmp_path):
    options = ("--data", "digits", "--teacher", made.teacher, "--out", tmp_path / "out")
    wrong = as_options("aux.batch_size=5000")
    refused(tleg("train-aux", *COMMON, *options, *wrong), "1297 training images", out=tmp_path / "out")
    assert tleg("train-aux", *COMMON, *options, *as_options("aux.epochs=1")).code == 0


def test_a_teacher_of_other_classes(tleg, made, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=3, train=4, val=2)
    options = ("--data", folder, "--teacher", made.teacher, *as_options("aux.batch_size=4"), "--out", tmp_path / "out")
    refused(tleg("train-aux", *COMMON, *options), "10 classes", "3", out=tmp_path / "out")


def test_other_classes_in_val_than_in_train(tleg, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=3, train=2, val=2)
    (folder / "val" / "class-2").rename(folder / "val" / "class-9")
    refused(tleg("prepare", folder, tmp_path / "out"), "'class-2' only in train", "'class-9' only in val")


@pytest.mark.parametrize("depth", ["12-3", "3,,6"])
def test_depths_of_a_family(tleg, made, tmp_path, depth):
    options = ("--data", "digits", "--learngene", made.learngene, "--depth", depth, "--out", tmp_path / "out")
    refused(tleg("train-des", *COMMON, *options), depth)


def test_the_teacher_that_is_missing(tleg, tmp_path):
    options = ("--data", "digits", "--teacher", "nowhere.pth", *as_options(), "--out", tmp_path / "out")
    refused(tleg("train-aux", *COMMON, *options), "nowhere.pth", out=tmp_path / "out")


def test_the_presets_own_place_is_named_when_nothing_is_there(tleg, tmp_path):
    refused(tleg("train-aux", "--preset", "small", "--device", "cpu", "--out", tmp_path / "out"), "/fast/imagenet")


@pytest.mark.parametrize("command", ["train-teacher", "train-aux", "train-des", "adopt", "bench"])
def test_a_command_without_arguments_says_what_is_missing(tleg, command):
    done = tleg(command)
    assert done.code == 2
    assert "Missing" in done.err
    assert "Traceback" not in done.err
