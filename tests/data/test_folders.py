"""Folders as people have them: system files, links in circles, names from macOS, special files. Folders and tars number classes alike."""

import logging
import os
import shutil
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import write_folder
from tleg_cli.data.class_names import in_order
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError

MIXED = ("Zebra", "apple", "Banana", "cherry", "10", "2", "02", "x9", "x10", "Éclair")


def image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path, "PNG")


def data_set(root: Path, *names: str, images: int = 2) -> Path:
    for split in ("train", "val"):
        for label, name in enumerate(names):
            for number in range(images):
                image(root / split / name / f"{number}.png", 20 * label + number)
    return root


def pack(folder: Path, tar: Path, arcname: str = ".") -> None:
    with tarfile.open(tar, "w") as file:
        file.add(folder, arcname=arcname)


def content(path: Path, split: str = "train") -> list[tuple[str, bytes]]:
    """Class name and pixels of every image, in order."""
    source = open_source(str(path))
    images = source.split(split)
    return [
        (source.classes[label], np.asarray(picture).tobytes())
        for picture, label in (images[i] for i in range(len(images)))
    ]


def refusal(path: object) -> str:
    with pytest.raises(DataError) as caught:
        content(path)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# one order


def test_the_order_is_natural_with_capitals_first_whatever_the_system_lists_first():
    assert in_order(MIXED) == ("02", "2", "10", "Banana", "Zebra", "apple", "cherry", "x9", "x10", "Éclair")
    assert in_order(reversed(MIXED)) == in_order(MIXED)


@pytest.mark.parametrize("wrap", [".", "", "train", "data/train"])
def test_a_tar_is_what_its_folder_is_image_by_image(tmp_path, wrap):
    folder = data_set(tmp_path / "folder", *MIXED)
    (folder / "train" / "apple" / "more" / "deep").mkdir(parents=True)
    image(folder / "train" / "apple" / "more" / "deep" / "1.png", 99)
    (tmp_path / "tars").mkdir()
    for split in ("train", "val"):
        pack(folder / split, tmp_path / "tars" / f"{split}.tar", wrap)
    assert open_source(str(tmp_path / "tars")).classes == open_source(str(folder)).classes
    for split in ("train", "val"):
        assert content(tmp_path / "tars", split) == content(folder, split)


def test_a_tar_of_one_tar_per_class_as_imagenets(tmp_path):
    folder = data_set(tmp_path / "folder", "n02", "n10")
    (tmp_path / "tars").mkdir()
    for split in ("train", "val"):
        for name in ("n02", "n10"):
            pack(folder / split / name, tmp_path / f"{name}.tar")
        with tarfile.open(tmp_path / "tars" / f"{split}.tar", "w") as outer:
            for name in ("n10", "n02"):
                outer.add(tmp_path / f"{name}.tar", arcname=f"{name}.tar")
    assert content(tmp_path / "tars") == content(folder)


def test_links_and_second_versions_in_a_tar_count_as_when_it_is_unpacked(tmp_path, caplog):
    folder = data_set(tmp_path / "folder", "a", "b")
    image(tmp_path / "new.png", 77)
    os.link(folder / "train" / "a" / "0.png", folder / "train" / "a" / "7.png")
    (tmp_path / "tars").mkdir()
    pack(folder / "train", tmp_path / "tars" / "train.tar")
    pack(folder / "val", tmp_path / "tars" / "val.tar")
    with tarfile.open(tmp_path / "tars" / "train.tar", "a") as tar:
        tar.add(tmp_path / "new.png", arcname="./b/1.png")
        link = tarfile.TarInfo("./b/5.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/0.png"
        tar.addfile(link)
    shutil.copy(tmp_path / "new.png", folder / "train" / "b" / "1.png")
    with caplog.at_level(logging.WARNING, "tleg"):
        assert content(tmp_path / "tars") == content(folder)
    assert "passed over 1 links and special files, such as b/5.png" in caplog.text


def test_forked_readers_of_a_tar_share_no_position(tmp_path):
    """The parent opens the tar first; timm's reader then mixed up the images of its children."""
    import multiprocessing

    folder = data_set(tmp_path / "folder", "a", "b", images=60)
    (tmp_path / "tars").mkdir()
    for split in ("train", "val"):
        pack(folder / split, tmp_path / "tars" / f"{split}.tar")
    split = open_source(str(tmp_path / "tars")).train()
    expected = [np.asarray(split[index][0])[0, 0, 0] for index in range(len(split))]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        for _ in range(5):
            assert pool.map(_First(split), range(len(split)), chunksize=3) == expected


class _First:
    def __init__(self, split: object):
        self.split = split

    def __call__(self, index: int) -> int:
        return int(np.asarray(self.split[index][0])[0, 0, 0])  # type: ignore[index]


@pytest.mark.parametrize("tars", [("train", "val"), ("train",), ("validation",)])
def test_tars_next_to_folders_are_ambiguous(tmp_path, tars):
    data_set(tmp_path, "a", "b")
    for split in tars:
        pack(tmp_path / "train", tmp_path / f"{split}.tar")
    line = refusal(tmp_path)
    assert f"has {tars[0]}.tar and the folder train/, and it isn't clear which to use; move" in line


def test_half_a_pair_of_tars_and_images_without_a_class_are_named(tmp_path):
    folder = data_set(tmp_path / "folder", "a")
    pack(folder / "val", tmp_path / "val.tar")
    assert "has val.tar, but no train.tar" in refusal(tmp_path)
    pack(folder / "train" / "a", tmp_path / "train.tar")
    assert "0.png is in no class folder" in refusal(tmp_path)
    (tmp_path / "train.tar").write_bytes((tmp_path / "val.tar").read_bytes()[:700])
    assert "can't read" in refusal(tmp_path)
    (tmp_path / "train.tar").unlink()
    os.mkfifo(tmp_path / "train.tar")
    assert "train.tar is a FIFO" in refusal(tmp_path)


# hidden and system files

SYSTEM = (
    ".ipynb_checkpoints", ".AppleDouble", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN",
    "System Volume Information", "@Recycle", ".Trashes", "lost+found", "__pycache__",
)  # fmt: skip


def litter(split: Path) -> None:
    """What systems and tools leave: folders among the classes and inside one, and files with an image's suffix."""
    inside = next(path for path in sorted(split.iterdir()) if path.is_dir())
    for name in SYSTEM:
        image(split / name / "0.png", 200)
        image(inside / name / "0-checkpoint.png", 200)
    for name in ("._0.png", ".0.png.swp.png"):
        (inside / name).write_bytes(b"\0\5\x16\7")
    for name in ("Thumbs.db", "desktop.ini", "Icon\r"):
        (inside / name).write_bytes(b"x")


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_hidden_and_system_folders_are_neither_classes_nor_images(tmp_path, kind, caplog):
    clean, messy = (data_set(tmp_path / name, "a", "b") for name in ("clean", "messy"))
    for split in ("train", "val"):
        litter(messy / split)
        if kind == "tar":
            pack(messy / split, messy / f"{split}.tar")
            shutil.rmtree(messy / split)
    with caplog.at_level(logging.WARNING, "tleg"):
        assert content(messy) == content(clean)
        assert content(messy, "val") == content(clean, "val")
    assert not caplog.records


# links


def test_links_in_a_circle_multiply_nothing(tmp_path, caplog):
    plain, looped = (data_set(tmp_path / name, "a", "b") for name in ("plain", "looped"))
    for name, target in (("self", "."), ("up", ".."), ("root", "/"), ("other", "../b")):
        (looped / "train" / "a" / name).symlink_to(target)
    (looped / "train" / "b" / "nowhere").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING, "tleg"):
        assert content(looped) == content(plain)
    assert "passed over 4 links to folders that are listed already or contain this one" in caplog.text


def test_a_folder_keeps_the_class_it_lies_in(tmp_path):
    """A link in an earlier class must not take it away."""
    plain, linked = (data_set(tmp_path / name, "a", "b") for name in ("plain", "linked"))
    for root in (plain, linked):
        image(root / "train" / "b" / "part" / "9.png", 150)
    (linked / "train" / "a" / "link").symlink_to("../b/part")
    assert content(linked) == content(plain)


def test_linked_class_folders_and_linked_images_work(tmp_path):
    plain = data_set(tmp_path / "plain", "a", "b")
    linked = tmp_path / "linked"
    for split in ("train", "val"):
        (linked / split / "b").mkdir(parents=True)
        (linked / split / "a").symlink_to(plain / split / "a")
        for file in (plain / split / "b").iterdir():
            (linked / split / "b" / file.name).symlink_to(file)
    assert content(linked) == content(plain)


def test_one_folder_under_two_class_names_is_refused(tmp_path):
    data_set(tmp_path, "a", "b")
    for split in ("train", "val"):
        (tmp_path / split / "c").symlink_to("a")
    assert "the classes 'a' and 'c' are the same folder" in refusal(tmp_path)


def test_images_next_to_the_class_folders_are_reported(tmp_path, caplog):
    data_set(tmp_path, "a")
    image(tmp_path / "train" / "stray.png")
    with caplog.at_level(logging.WARNING, "tleg"):
        assert len(content(tmp_path)) == 2
    assert "passed over 1 images outside the class folders, such as stray.png" in caplog.text


# names

COMPOSED = "café"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_composed_and_decomposed_names_are_one_class(tmp_path, kind):
    """Trained from a Mac's archive, scored on another's; and a folder filled from both."""
    data_set(tmp_path, COMPOSED, "tea")
    (tmp_path / "val" / COMPOSED).rename(tmp_path / "val" / DECOMPOSED)
    image(tmp_path / "train" / DECOMPOSED / "5.png", 55)
    if kind == "tar":
        for split in ("train", "val"):
            pack(tmp_path / split, tmp_path / f"{split}.tar")
            shutil.rmtree(tmp_path / split)
    assert [name for name, _ in content(tmp_path)] == [COMPOSED] * 3 + ["tea"] * 2
    assert [name for name, _ in content(tmp_path, "val")] == [COMPOSED] * 2 + ["tea"] * 2


def test_a_class_name_that_is_not_utf8_is_refused_and_a_file_name_works(tmp_path):
    data_set(tmp_path, "a")
    latin = os.fsdecode(b"caf\xe9")
    image(tmp_path / "train" / "a" / f"{latin}.png", 99)
    assert len(content(tmp_path)) == 3
    image(tmp_path / "train" / latin / "0.png")
    assert r"the class name 'caf\udce9' is not valid UTF-8; rename it" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/zero", "is a device; give the folder"),
        ("x" * 300, "no folder"),
        ("/" + "x/" * 3000, "no folder"),
        ("~nobody-of-that-name/data", "no folder"),
        ("\0", "no folder"),
    ],
)
def test_odd_paths_are_refused_at_once(path, words):
    assert words in refusal(path)


def test_a_fifo_as_data_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "data")
    assert "is a FIFO; give the folder" in refusal(tmp_path / "data")


def test_an_unreadable_split_is_named(tmp_path):
    write_folder(tmp_path, classes=1, train=1, val=1)
    shutil.rmtree(tmp_path / "train" / "class-0")
    (tmp_path / "train" / "class-0").symlink_to("class-0")
    assert "has no class folders" in refusal(tmp_path)
