"""Images without classes: every one is found, one in ten is held out, and none is in both splits."""

import pytest
from PIL import Image

from tleg_cli.data.unlabelled import unlabelled_source
from tleg_cli.errors import DataError


def images(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)


def names(split):
    return [split.where(index).rpartition("/")[2] for index in range(len(split))]


def test_a_flat_folder_and_folders_in_it(tmp_path, caplog):
    images(tmp_path, [f"{number:02d}.png" for number in range(11)] + ["more/deep/aa.jpg"])
    (tmp_path / "notes.txt").write_text("not an image")
    source = unlabelled_source(tmp_path, ("a", "b", "c"))
    train, val = source.split("train"), source.split("val")
    assert names(val) == ["00.png", "10.png"]
    assert sorted(names(train) + names(val)) == [f"{number:02d}.png" for number in range(11)] + ["aa.jpg"]
    assert source.classes == ("a", "b", "c")
    assert "notes.txt" in caplog.text


def test_its_own_splits_are_kept(tmp_path):
    images(tmp_path, ["train/a.png", "train/b.png", "val/c.png"])
    source = unlabelled_source(tmp_path, ("a",))
    assert (names(source.split("train")), names(source.split("val"))) == (["a.png", "b.png"], ["c.png"])


def test_what_is_not_a_folder_of_images(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        unlabelled_source(tmp_path / "none", ("a",))
    with pytest.raises(DataError, match="has no images"):
        unlabelled_source(tmp_path, ("a",)).train()
    images(tmp_path, ["one.png"])
    with pytest.raises(DataError, match="has 1 image; at least 2"):
        unlabelled_source(tmp_path, ("a",)).train()
    (tmp_path / "val.beton").write_bytes(b"")
    with pytest.raises(DataError, match="leave --unlabelled out"):
        unlabelled_source(tmp_path, ("a",))
