"""Every data set of the paper as it comes out of its archive, made small: `tleg prepare` takes it, train and val alike."""

import csv
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import picture, prepare
from tleg_cli.data.ffcv.sidecar import read_pair
from tleg_cli.data.open_source import open_source
from tleg_cli.errors import DataError

WNIDS = ("n01443537", "n01629819", "n02085620")


def jpeg(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number, 64 + number % 5, 64).save(path, quality=90)


def class_folders(root: Path) -> None:
    for label, wnid in enumerate(WNIDS):
        for number in range(4):
            jpeg(root / wnid / f"{wnid}_{number}.JPEG", 10 * label + number)


def imagenet(root: Path) -> None:
    class_folders(root / "train")
    class_folders(root / "val")


def imagenet_of_kaggle(root: Path) -> None:
    class_folders(root / "ILSVRC" / "Data" / "CLS-LOC" / "train")
    with (root / "LOC_val_solution.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for number, wnid in enumerate([*WNIDS, WNIDS[1]]):
            name = f"ILSVRC2012_val_{number + 1:08d}"
            rows.writerow([name, f"{wnid} 85 1 499 272 {wnid} 1 1 20 20"])
            jpeg(root / "ILSVRC" / "Data" / "CLS-LOC" / "val" / f"{name}.JPEG", 50 + number)


def tiny_imagenet(root: Path) -> None:
    for label, wnid in enumerate(WNIDS):
        for number in range(4):
            jpeg(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 10 * label + number)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t32\t44\t62\n")
    lines = []
    for number, wnid in enumerate([*WNIDS, WNIDS[1]]):
        jpeg(root / "val" / "images" / f"val_{number}.JPEG", 50 + number)
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    jpeg(root / "test" / "images" / "test_0.JPEG", 99)


def inaturalist_2019(root: Path) -> None:
    number = 0
    for split, count in (("train", 4), ("val", 2)):
        images, notes = [], []
        for category in (2, 10, 1):
            for _ in range(count):
                name = f"train_val2019/Plants/{category}/{number:032x}.jpg"
                jpeg(root / name, number)
                images.append({"id": number, "file_name": name, "width": 64, "height": 64})
                notes.append({"id": number, "image_id": number, "category_id": category})
                number += 1
        (root / f"{split}2019.json").write_text(json.dumps({"images": images, "annotations": notes, "categories": []}))


def food_101(root: Path) -> None:
    (root / "meta").mkdir()
    names = ("apple_pie", "baby_back_ribs", "waffles")
    for split, numbers in (("train", range(4)), ("test", range(4, 6))):
        lines = [f"{name}/{1000 * label + number}" for label, name in enumerate(names) for number in numbers]
        for number, line in enumerate(lines):
            jpeg(root / "images" / f"{line}.jpg", number)
        (root / "meta" / f"{split}.txt").write_text("\n".join(lines) + "\n")


def mini_imagenet(root: Path) -> None:
    for split, wnid in zip(("train", "val", "test"), WNIDS, strict=True):
        with (root / f"{split}.csv").open("w") as file:
            rows = csv.writer(file)
            rows.writerow(["filename", "label"])
            for number in range(6):
                jpeg(root / "images" / f"{wnid}{number:08d}.jpg", number)
                rows.writerow([f"{wnid}{number:08d}.jpg", wnid])


IMAGES = {  # layout -> training images, scored images, classes
    imagenet: (12, 12, WNIDS),
    imagenet_of_kaggle: (12, 4, WNIDS),
    tiny_imagenet: (12, 4, WNIDS),
    inaturalist_2019: (12, 6, ("1", "2", "10")),
    food_101: (12, 6, ("apple_pie", "baby_back_ribs", "waffles")),
    mini_imagenet: (15, 3, WNIDS),
}


@pytest.mark.parametrize("layout", IMAGES, ids=lambda layout: layout.__name__)
def test_a_published_layout_is_prepared(layout, tmp_path):
    (tmp_path / "source").mkdir()
    layout(tmp_path / "source")
    train, val, classes = IMAGES[layout]
    out = prepare(tmp_path / "source", tmp_path / "out", write_mode="jpg", max_resolution=48, quality=80)
    sidecars = read_pair(out)
    assert [one.samples for one in sidecars] == [train, val]
    for one in sidecars:
        assert one.classes == classes
        assert (one.max_resolution, one.quality, one.write_mode) == (48, 80, "jpg")


def labels(path: object, split: str) -> list[str]:
    source = open_source(str(path))
    images = source.split(split)
    return [source.classes[images[index][1]] for index in range(len(images))]


def test_the_flat_folder_of_tiny_imagenet_gets_the_classes_of_its_list(tmp_path):
    tiny_imagenet(tmp_path)
    assert labels(tmp_path, "val") == [WNIDS[0], WNIDS[1], WNIDS[1], WNIDS[2]]
    images = open_source(str(tmp_path)).val()
    assert np.array_equal(np.asarray(images[2][0]), decoded(tmp_path / "val" / "images" / "val_3.JPEG"))


def decoded(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def test_the_flat_folder_of_imagenet_gets_the_classes_of_kaggles_list(tmp_path):
    imagenet_of_kaggle(tmp_path)
    assert labels(tmp_path, "val") == [WNIDS[0], WNIDS[1], WNIDS[1], WNIDS[2]]


def test_mini_imagenets_three_lists_become_two_splits_of_all_classes(tmp_path):
    mini_imagenet(tmp_path)
    assert labels(tmp_path, "train") == [name for name in WNIDS for _ in range(5)]
    assert labels(tmp_path, "val") == list(WNIDS)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifars_python_version_is_prepared(name, tmp_path, monkeypatch):
    """torchvision checks the hashes of the real files: here those of the small ones stand in their place."""
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    key, classes = ("labels", 10) if name == "cifar10" else ("fine_labels", 100)

    def write(file: str, content: object) -> list[str]:
        (folder / file).write_bytes(pickle.dumps(content))
        return [file, hashlib.md5((folder / file).read_bytes()).hexdigest()]

    def batch(file: str, seed: int) -> list[str]:
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 3072), dtype=np.uint8)
        return write(file, {"data": pixels, key: [number % classes for number in range(20)]})

    monkeypatch.setattr(kind, "train_list", [batch(file, 1) for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [batch(file, 2) for file, _ in kind.test_list])
    names = {kind.meta["key"]: [f"class {number}" for number in range(classes)]}
    meta = write(kind.meta["filename"], names)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta[1]})

    by_name = prepare(f"torch/{name}:{tmp_path}", tmp_path / "by-name")
    by_folder = prepare(tmp_path, tmp_path / "by-folder")
    for out in (by_name, by_folder):
        train, val = read_pair(out)
        assert (train.samples, val.samples) == (20 * len(kind.train_list), 20)
        assert train.classes == tuple(names[kind.meta["key"]])
        assert train.write_mode == "raw"  # 32 pixels: JPEG would save nothing


@pytest.mark.parametrize(
    ("layout", "break_it", "words"),
    [
        (
            tiny_imagenet,
            lambda root: (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn999\t0\n"),
            "n999",
        ),
        (tiny_imagenet, lambda root: (root / "val" / "images").rename(root / "elsewhere"), "val_0.JPEG is in the list"),
        (inaturalist_2019, lambda root: (root / "val2019.json").unlink(), "no val2019.json"),
        (inaturalist_2019, lambda root: (root / "val2019.json").write_text("[]"), "COCO"),
        (imagenet_of_kaggle, lambda root: (root / "LOC_val_solution.csv").write_text("a,b\n1,2\n"), "'ImageId'"),
        (mini_imagenet, lambda root: (root / "val.csv").write_text("filename\nx.jpg\n"), "'label'"),
        (mini_imagenet, lambda root: append(root / "val.csv", "x.jpg\n"), "row 8 has no 'label'"),
        (
            mini_imagenet,
            lambda root: append(root / "val.csv", f"{'x' * 200_000},n1\n"),
            "field larger than field limit",
        ),
        (mini_imagenet, lambda root: append(root / "val.csv", f"x.jpg,{'n' * 300}\n"), "a class name has 300 bytes"),
        (mini_imagenet, lambda root: append(root / "val.csv", f"{'x' * 256},n1\n"), "can't be a file name"),
        (inaturalist_2019, lambda root: (root / "val2019.json").write_text("[" * 100_000), "COCO"),
        (inaturalist_2019, lambda root: (root / "val2019.json").write_text("9" * 100_000), "COCO"),
    ],
    ids=[
        "other-class",
        "no-images",
        "half-a-pair",
        "other-json",
        "other-csv",
        "no-column",
        "short-row",
        "large-field",
        "long-class",
        "long-file",
        "deep-json",
        "long-number",
    ],
)
def test_a_broken_layout_is_named(layout, break_it, words, tmp_path):
    layout(tmp_path)
    break_it(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(str(tmp_path)).val()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def outside(layout: Callable[[Path], None], root: Path, name: str) -> None:
    """Makes the layout name `name` as an image, where it names its others."""
    layout(root)
    if layout is tiny_imagenet:
        append(root / "val" / "val_annotations.txt", f"{name}\t{WNIDS[0]}\t0\t0\t0\t0\n")
    elif layout is imagenet_of_kaggle:
        append(root / "LOC_val_solution.csv", f"{name},{WNIDS[0]} 1 2 3 4\n")
    elif layout is food_101:
        append(root / "meta" / "test.txt", f"{name}\n")
    elif layout is mini_imagenet:
        append(root / "val.csv", f"{name},{WNIDS[1]}\n")
    else:
        content = json.loads((root / "val2019.json").read_text())
        content["images"][0]["file_name"] = name
        (root / "val2019.json").write_text(json.dumps(content))


@pytest.mark.parametrize("layout", list(IMAGES)[1:], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("name", ["../../secret", "/etc/secret", "a/../../../secret"])
def test_a_list_that_leads_out_of_the_data_set_is_refused(layout, name, tmp_path):
    jpeg(tmp_path / "secret.jpg", 1)
    (tmp_path / "data").mkdir()
    outside(layout, tmp_path / "data", name)
    with pytest.raises(DataError, match="is outside the data set; remove that entry"):
        open_source(str(tmp_path / "data")).val()


LISTS = {
    tiny_imagenet: "val/val_annotations.txt",
    imagenet_of_kaggle: "LOC_val_solution.csv",
    inaturalist_2019: "val2019.json",
    food_101: "meta/test.txt",
    mini_imagenet: "val.csv",
}


@pytest.mark.parametrize("layout", LISTS, ids=lambda layout: layout.__name__)
def test_a_list_that_never_ends_is_refused_at_once(layout, tmp_path):
    layout(tmp_path)
    file = tmp_path / LISTS[layout]
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataError, match="is a FIFO, not a list of images"):
        open_source(str(tmp_path)).val()
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device, not a list of images"):
        open_source(str(tmp_path)).val()
    file.unlink()
    file.touch()
    os.truncate(file, 1 << 40)  # sparse
    with pytest.raises(DataError, match="is it a list"):
        open_source(str(tmp_path)).val()


def test_names_that_arent_utf8_a_byte_order_mark_and_system_files_are_no_obstacle(tmp_path):
    tiny_imagenet(tmp_path)
    latin = os.fsdecode(b"caf\xe9.JPEG")
    jpeg(tmp_path / "train" / WNIDS[0] / "images" / latin, 1)
    jpeg(tmp_path / "val" / "images" / latin, 2)
    with (tmp_path / "val" / "val_annotations.txt").open("ab") as notes:
        notes.write(f"._val_1.JPEG\t{WNIDS[0]}\t0\n".encode() + b"caf\xe9.JPEG\t" + WNIDS[2].encode() + b"\t0\n")
    (tmp_path / "train" / "__MACOSX").mkdir()
    source = open_source(str(tmp_path))
    assert source.classes == WNIDS
    train, val = source.train(), source.val()
    assert all(train[index][0].size[1] == 64 for index in range(13))
    assert [val[index][1] for index in range(5)] == [0, 1, 1, 2, 2]


def test_a_table_with_a_byte_order_mark_as_excel_writes_it(tmp_path):
    mini_imagenet(tmp_path)
    for split in ("train", "val", "test"):
        file = tmp_path / f"{split}.csv"
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert open_source(str(tmp_path)).classes == WNIDS
