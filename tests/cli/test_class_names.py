"""Class names travel with weights: permuted, renamed and foreign classes, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.cli.conftest import in_its_own_process
from tests.cli.test_bad_input import refused
from tests.tiny import as_options

NUMBERS = tuple(map(str, range(1, 12)))
COLOURS = 11


def colours(root: Path, names: tuple[str, ...], train: int = 24, val: int = 4) -> Path:
    """A folder in which the k-th name has the k-th colour: learnt within a second."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for k, name in enumerate(names):
            place = root / split / name
            place.mkdir(parents=True)
            base = np.array([255 * k / (COLOURS - 1), 255 - 255 * k / (COLOURS - 1), 255 * (k % 3) / 2])
            for i in range(count):
                pixels = base + random.normal(0, 8, (8, 8, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i:03}.png")
    return root


def options(*settings: str) -> tuple[str, ...]:
    own = (
        "aux.batch_size=88",
        "descendant.batch_size=88",
        "teacher.recipe.batch_size=88",
        "augmentation.crop_scale=null",
    )
    return ("--preset", "digits", "--device", "cpu", *as_options("aux.allow_bad_teacher=false", *own, *settings))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> tuple[Path, Path]:
    """Folders 1 to 11 and a teacher that has learnt them."""
    root = tmp_path_factory.mktemp("numbered")
    data = colours(root / "data", NUMBERS)
    trained = in_its_own_process(
        "train-teacher",
        *options("teacher.recipe.epochs=25", "teacher.recipe.lr=0.01"),
        "--data",
        data,
        "--out",
        root / "t",
    )
    assert trained.code == 0, trained.err
    return data, root / "t" / "teacher.safetensors"


def with_names(file: Path, path: Path, names: tuple[str, ...] | None, order: list[int] | None = None) -> Path:
    """The same network under other names, its head's rows in another order."""
    from safetensors.torch import save_file

    with safe_open(file, "pt") as opened:
        card = json.loads(opened.metadata()["tleg"])
    weights = load_file(file)
    if order:
        weights |= {name: weights[name][order].contiguous() for name in ("fc.weight", "fc.bias")}
    card.pop("class_names")
    save_file(weights, path, metadata={"tleg": json.dumps(card | ({"class_names": list(names)} if names else {}))})
    return path


def top1(tleg, *arguments):
    done = tleg("evaluate", *arguments, "--device", "cpu", "--workers", 0, "--json")
    assert done.code == 0, done.err
    return done.json()["top1"], done.err


TORCHVISION = tuple(sorted(NUMBERS))
TO_TORCHVISION = [NUMBERS.index(name) for name in TORCHVISION]


def test_the_names_are_in_the_file_in_the_datas_order(numbered):
    with safe_open(numbered[1], "pt") as opened:
        assert tuple(json.loads(opened.metadata()["tleg"])["class_names"]) == NUMBERS


def test_evaluate_puts_another_order_in_order_and_says_so(tleg, numbered, tmp_path):
    data, teacher = numbered
    plain, silent = top1(tleg, teacher, "--data", data)
    assert plain > 90
    assert "order" not in silent
    other = with_names(teacher, tmp_path / "other.safetensors", TORCHVISION, TO_TORCHVISION)
    score, said = top1(tleg, other, "--data", data)
    assert score == plain
    assert "its class 1 is '10', the data's '2'" in said
    # the same weights without names: nothing can be seen, which is reported
    unnamed = with_names(teacher, tmp_path / "unnamed.safetensors", None, TO_TORCHVISION)
    score, said = top1(tleg, unnamed, "--data", data)
    assert score < 50
    assert "does not name its classes" in said
    (tmp_path / "map.txt").write_text("\n".join(TORCHVISION))
    assert top1(tleg, unnamed, "--data", data, "--class-map", tmp_path / "map.txt")[0] == plain


def test_evaluate_refuses_other_names(tleg, numbered, tmp_path):
    renamed = colours(tmp_path / "renamed", tuple(f"k{k:02}" for k in range(11)), train=1, val=1)
    start = ("evaluate", numbered[1], "--data", renamed, "--device", "cpu")
    refused(tleg(*start), "class 0 is '1', not 'k00'", "--class-map")
    (tmp_path / "map.json").write_text(json.dumps({f"k{k:02}": k for k in range(11)}))
    assert top1(tleg, *start[1:4], "--class-map", tmp_path / "map.json")[0] > 90
    (tmp_path / "short.json").write_text(json.dumps(["a"]))
    refused(tleg(*start, "--class-map", tmp_path / "short.json"), "1 names, but the head has 11")


def test_weights_of_anyone_are_scored(tleg, numbered, tmp_path):
    """As timm's train.py saves them, with a moving average that is worthless."""
    data, teacher = numbered
    weights = load_file(teacher)
    average = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save(
        {"state_dict": weights, "state_dict_ema": average, "arch": "resnet10t", "epoch": 1}, tmp_path / "x.pth.tar"
    )
    start = (tmp_path / "x.pth.tar", "--data", data)
    refused(tleg("evaluate", *start, "--device", "cpu"), "name it with --model")
    known = ("--model", "resnet10t", "--option", "channels=[8,8,8,8]")
    score, said = top1(tleg, *start, *known)
    assert score < 20
    assert "moving average" in said
    score, said = top1(tleg, *start, *known, "--weights", "raw")
    assert score > 20  # normalised as timm does it, not as it was trained
    refused(tleg("evaluate", *start, *known, "--weights", "mean", "--device", "cpu"), "'mean'")
