"""`tleg predict`: the classes that evaluation counts, by name; what can't be read is named."""

import json

import numpy as np
import pytest
from PIL import Image

from tleg_cli.data.open_source import open_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty validation images of the digits as files."""
    root = tmp_path_factory.mktemp("images")
    split = open_source("digits").val()
    for index in range(20):
        image, label = split[index]
        image.save(root / f"{index:02d}-is-{label}.png")
    return root


def test_the_classes_are_those_that_evaluation_counts(tleg, made, folder):
    done = tleg("predict", made.learngene, folder, "--depth", 3, "--json", "--device", "cpu", "--batch-size", 7)
    assert done.code == 0, done.err
    found = done.json()
    assert [one["image"] for one in found] == sorted(str(path) for path in folder.iterdir())
    for one in found:
        shares = [guess["probability"] for guess in one["guesses"]]
        assert shares == sorted(shares, reverse=True)
        assert all(guess["name"] == str(guess["index"]) for guess in one["guesses"])
    import torch

    from tleg_cli.augment.pipeline import normalise
    from tleg_cli.learngene.file import read_learngene
    from tleg_cli.models.descendant import expanded_model

    gene = read_learngene(made.learngene)
    network, spec = expanded_model(gene, (3,)).eval(), gene.metadata.input
    pixels = [torch.from_numpy(np.array(Image.open(one["image"]))).permute(2, 0, 1) for one in found]
    with torch.no_grad():
        logits = network(normalise(torch.stack(pixels), spec.mean, spec.std))
    assert [one["guesses"][0]["index"] for one in found] == logits.argmax(1).tolist()


def test_a_table_names_files_and_classes(tleg, made, folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {number}" for number in range(10)))
    image = next(iter(sorted(folder.iterdir())))
    done = tleg("predict", made.learngene, image, "--class-map", names, "--top", 2, "--device", "cpu")
    assert done.code == 0, done.err
    rows = done.out.splitlines()[2:]
    assert len(rows) == 2
    assert all(row.startswith(str(image)) and "digit" in row and row.endswith("%") for row in rows)


def test_what_cannot_be_read_is_named_and_the_others_are_predicted(tleg, made, folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    good = sorted(folder.iterdir())[:2]
    done = tleg("predict", made.learngene, good[0], tmp_path / "broken.png", good[1], "--json", "--device", "cpu")
    assert done.code == 1
    assert "1 of 3 images can't be read" in done.err
    assert "broken.png" in done.err
    found = json.loads(done.out)
    assert ["guesses" in one for one in found] == [True, False, True]


def test_nothing_to_predict_is_one_line(tleg, made, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, words in ((tmp_path / "none.png", "no image at"), (tmp_path / "empty", "holds no images")):
        done = tleg("predict", made.learngene, path)
        assert (done.code, words in done.err) == (1, True)
    done = tleg("predict", made.learngene, tmp_path, "--depth", "3-5")
    assert done.code == 1
