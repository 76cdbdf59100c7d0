"""Sources: what is accepted as a data set, and the one line that refuses everything else."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from tleg_cli.data.open_source import open_source
from tleg_cli.data.timm_sources import known_size
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
    assert len(everything) == 1797  # no image is in both


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
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "Files already downloaded\n")


# torchvision's sets


def test_packed_files_with_other_checksums_are_to_be_unpacked(tmp_path, no_network):
    """Debian's Fashion-MNIST: right images, compressed again. Advice to put them where they are would not help."""
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST" / "raw"
    for folder in (tmp_path, raw):
        folder.mkdir(parents=True, exist_ok=True)
        for file, _ in FashionMNIST.resources:
            (folder / file).write_bytes(gzip.compress(b"other"))
        line = refusal(f"torch/fashion_mnist:{tmp_path}")
        assert f"{folder} has files of these names" in line
        assert f"unpack all 4 into {raw} with gunzip" in line


def test_unpacked_files_need_no_checksum_and_keep_their_labels_order(tmp_path, no_network):
    from torchvision.datasets import KMNIST

    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 3), ("t10k", 2)):
        pixels = np.arange(count * 784, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + bytes([9, 1, 0][:count]))
    source = open_source(f"torch/kmnist:{tmp_path}")
    assert source.classes == tuple(KMNIST.classes)  # "o" comes first, though it isn't the first in any sorted order
    assert [source.train()[index][1] for index in range(3)] == [9, 1, 0]
    assert (source.train()[0][0].mode, len(source.val())) == ("RGB", 2)


def test_torchvisions_folders_must_agree_and_name_their_damaged_files(tmp_path):
    """Both number their classes alone: a, b in train and b in val would give b two labels."""
    from PIL import Image

    for place in ("train/a", "train/b", "validation/a", "validation/b"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / place / "1.png")
    source = open_source(f"torch/image_folder:{tmp_path}")
    assert (np.asarray(source.val()[1][0]) == 128).all()  # 16 bits, which torchvision's own loader makes white
    (tmp_path / "train" / "b" / "1.png").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"train/b/1\.png is not an image"):
        source.train()[1]
    (tmp_path / "validation" / "a").rename(tmp_path / "validation" / "c")
    with pytest.raises(DataError, match="classes of train and validation differ"):
        open_source(f"torch/image_folder:{tmp_path}").val()


def test_a_data_set_that_fails_while_it_is_read_names_the_image(monkeypatch):
    from tleg_cli.data.timm_sources import TimmSplit

    class Broken:
        def __getitem__(self, index: int) -> None:
            raise ValueError("bad row\nof two lines")

    with pytest.raises(DataError, match="torch/x train: image 7 can't be read") as caught:
        TimmSplit(Broken(), "torch/x train")[7]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("torch/cifar100:/nowhere", (100, 50_000, 10_000)),
        ("torch/FASHION_MNIST:x", (10, 60_000, 10_000)),
        ("torch/unknown", None),
        ("hfds/some/set", None),
    ],
)
def test_sizes_of_named_sets_are_known_without_opening_them(path, size, no_network):
    found = known_size(path)
    assert (found and (found.classes, found.train, found.val)) == size
