"""Sources: what is accepted as a data set, and the one line that refuses everything else."""

import shutil

import numpy as np
import pytest

from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError


def test_digits_are_1797_real_images_in_a_fixed_split():
    source = open_source("digits")
    train, val = source.train(), source.val()
    assert (len(train), len(val), len(source.classes)) == (1297, 500, 10)
    image, label = val[0]
    assert image.mode == "RGB"
    assert image.size == (8, 8)
    assert label == open_source("digits").val()[0][1]
    assert np.asarray(image).max() == 255 or np.asarray(image).max() > 200
    everything = {np.asarray(split[i][0]).tobytes() for split in (train, val) for i in range(len(split))}
    assert len(everything) == 1797  # no image stands in both


def test_a_folder_gives_its_images_by_class(photos):
    source = open_source(str(photos))
    train = source.train()
    assert source.classes == ("class-0", "class-1", "class-2")
    assert [train[i][1] for i in range(len(train))] == [0] * 8 + [1] * 8 + [2] * 8


def test_what_is_no_data_is_refused_in_one_line(tmp_path, photos):
    copy = shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    cases = {
        "digit": "no source of that name. Did you mean 'digits'",
        str(tmp_path / "nowhere"): "no folder",
        str(tmp_path / "empty"): "has no train/ and val/",
        str(copy / "train" / "class-0" / "000.jpg"): "is a file",
    }
    for path, message in cases.items():
        with pytest.raises(DataError) as caught:
            open_source(path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_empty_class_and_different_classes_are_named(tmp_path, photos):
    copy = shutil.copytree(photos, tmp_path / "photos")
    for image in (copy / "val" / "class-1").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="class-1 has no images"):
        open_source(str(copy)).val()
    shutil.rmtree(copy / "val" / "class-1")
    with pytest.raises(DataError, match="'class-1' only in train"):
        open_source(str(copy))


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_a_damaged_image_is_named(tmp_path, photos, damage):
    copy = shutil.copytree(photos, tmp_path / "photos")
    file = copy / "train" / "class-0" / "003.jpg"
    content = file.read_bytes()
    file.write_bytes({"text": b"hello\n", "truncated": content[: len(content) // 2], "empty": b""}[damage])
    split = open_source(str(copy)).train()
    with pytest.raises(DataError, match=r"003\.jpg"):
        split[3]


def refusal(path: object) -> str:
    with pytest.raises(DataError) as caught:
        open_source(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_hugging_faces_sets_say_which_package_they_need(monkeypatch, capfd):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it weren't installed
    assert "pip install datasets" in refusal("hfds/some/set")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_without_a_network_the_archive_and_its_place_are_named(name, tmp_path, no_network):
    from torchvision import datasets

    kind = getattr(datasets, name)
    line = refusal(f"torch/{name.lower()}:{tmp_path}")
    assert f"fetch {kind.url} elsewhere" in line
    assert f"put it at {tmp_path / kind.filename}, or unpacked at {tmp_path / kind.base_folder}" in line


def test_without_a_network_the_files_of_several_archives_are_named(tmp_path, no_network):
    from torchvision.datasets import FashionMNIST

    line = refusal(f"torch/fashion_mnist:{tmp_path}")
    assert all(file in line for file, _ in FashionMNIST.resources)
    assert FashionMNIST.mirrors[0] in line
    assert f"into {tmp_path / 'FashionMNIST' / 'raw'}" in line


@pytest.fixture
def no_network(monkeypatch):
    import urllib.request
    from urllib.error import URLError

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)


def test_what_timm_says_while_it_opens_a_set_stays_off_stdout(tmp_path, capfd, monkeypatch):
    import timm.data

    def talkative(*_: object, **__: object) -> None:
        print("Files already downloaded")
        raise ValueError("broken")

    monkeypatch.setattr(timm.data, "create_dataset", talkative)
    assert "broken" in refusal(f"torch/cifar10:{tmp_path}")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "Files already downloaded\n")
